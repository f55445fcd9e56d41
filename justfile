# The daily verbs. `just` lists them; each is one line you can type yourself.

# list the verbs
default:
    @just --list

# the main job on embedded parts
demo:
    cargo run --bin transship -- demo

# everything a change must pass
check:
    cargo fmt --all --check
    .ci/no-aws
    .ci/templates
    cargo clippy --workspace --all-targets -- -D warnings

# all tests, or those of `-p PACKAGE`
test *selection:
    tests/run {{ selection }}

# the functions for Lambda, as `sam deploy` takes them
functions:
    sam build

# the table of docs/measured.md, beside the peers that are installed
bench *arguments:
    cargo run --release -p transship-tests --bin bench -- {{ arguments }}

# accept changed snapshots after reading them
snapshots:
    cargo insta review

# licenses, bans, sources
deny:
    cargo deny check bans licenses sources
