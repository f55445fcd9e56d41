//! How the C library gives memory back.
//!
//! glibc maps large allocations by themselves, so that they are given back when they are freed, but raises the size from which
//! it does so with each one that is freed, up to 32 MiB. Manifests of some megabytes then stay in its heaps: 16 of the largest
//! graphs at once took 94 MiB instead of 43. The size does not grow if it is set, which glibc reads from the environment, when a
//! process starts. Source: mallopt(3), `M_MMAP_THRESHOLD`.

/// glibc's own value at the start, in bytes.
const MMAP_THRESHOLD: &str = "131072";
const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";

/// Replaces this process by the same program with that size set, unless it is set already. The process id stays. Where the
/// program cannot be found any more, this process goes on.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_mmap_threshold() {
    use std::os::unix::process::CommandExt as _;

    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into());
    // Returns only if it failed.
    let _ = std::process::Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, MMAP_THRESHOLD)
        .exec();
}

/// Other C libraries give memory back by other rules.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn keep_mmap_threshold() {}
