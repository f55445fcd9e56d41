//! AWS as the platform.
