//! Failover from end to end: real registries with TLS, real name servers, clients that know only the name, and the commands of
//! `transship dr` as an operator runs them.

mod held;
mod kills;
mod pushes;
mod refusals;
mod there_and_back;
