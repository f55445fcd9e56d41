//! Sources that strangers wrote: skopeo, umoci and buildah; and the storage of Debian's `docker-registry`.

mod files;
mod programs;
mod registry;
