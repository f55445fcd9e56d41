//! One machine as the platform: queue and ledger in a SQLite file, objects in a folder, credentials as Docker keeps them.
//!
//! A data folder belongs to one worker at a time ([`DataLock`]); any process may read it ([`Database::open_read_only`]).

mod checkpoint;
mod column;
mod data_dir;
mod database;
mod docker_config;
mod group;
mod ledger;
mod object_folder;
mod queue;
mod schema;

pub use data_dir::DataLock;
pub use database::Database;
pub use docker_config::DockerConfig;
pub use ledger::SqliteLedger;
pub use object_folder::ObjectFolder;
pub use queue::SqliteQueue;
