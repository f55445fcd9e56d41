//! One machine as the platform: queue and ledger in a SQLite file, secrets from the environment and from files,
//! credentials as Docker keeps them.
//!
//! A data folder belongs to one worker at a time ([`DataLock`]); anyone may look ([`Database::open_read_only`]).

mod column;
mod data_dir;
mod database;
mod docker_config;
mod environment;
mod fairness;
mod ledger;
mod object_folder;
mod queue;
mod schema;
mod secrets;

pub use data_dir::DataLock;
pub use database::Database;
pub use docker_config::DockerConfig;
pub use environment::Environment;

pub use ledger::SqliteLedger;
pub use object_folder::ObjectFolder;
pub use queue::SqliteQueue;
pub use secrets::secrets;
