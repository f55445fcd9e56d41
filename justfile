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

# change the inputs of each parser of bytes from outside at random, each for some seconds
fuzz seconds="600":
    TRANSSHIP_FUZZ_SECONDS={{ seconds }} cargo test -p transship-tests --test fuzz -- --nocapture --test-threads 1
    TRANSSHIP_FUZZ_SECONDS={{ seconds }} cargo test -p transship-notifications --test deliveries -- no_change_to --nocapture --test-threads 1
    TRANSSHIP_FUZZ_SECONDS={{ seconds }} cargo test -p transship-layout --test hostile -- fuzz:: --nocapture --test-threads 1
    TRANSSHIP_FUZZ_SECONDS={{ seconds }} cargo test -p transship-registry --lib -- no_header_yields no_link_leads no_page_yields no_answer_of --nocapture --test-threads 1

# review changed snapshots
snapshots:
    cargo insta review

# check licenses, banned crates and sources
deny:
    cargo deny check bans licenses sources
