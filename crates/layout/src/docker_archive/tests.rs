//! Behaviours of archives as docker saves them.
