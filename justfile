# Commands for daily work. `just` lists them.

# list the commands
default:
    @just --list

# run a complete replication on embedded registries
demo:
    cargo run --bin transship -- demo

# checks that every change must pass
check:
    cargo fmt --all --check
    .ci/no-aws
    .ci/templates
    .ci/language
    cargo clippy --workspace --all-targets -- -D warnings

# run all tests, or those of `-p PACKAGE`
test *selection:
    tests/run {{ selection }}

# build the Lambda functions for `sam deploy`
functions:
    sam build

# measure the table of docs/measured.md, with the other tools that are installed
bench *arguments:
    cargo run --release -p transship-tests --bin bench -- {{ arguments }}

# review changed snapshots
snapshots:
    cargo insta review

# check licenses, banned crates and sources
deny:
    cargo deny check bans licenses sources
