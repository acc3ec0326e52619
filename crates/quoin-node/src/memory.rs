//! What a process can do so that its secrets stay in memory: no core files, no debugger of the same
//! user, no swap.
//!
//! Everything is locked rather than the secrets alone: shares pass through stacks, registers spilt
//! to them, and buffers of libraries, and a lock on some pages would promise more than it holds.
//!
//! What is not here: protection against root, and against a hypervisor that copies the memory
//! (the construction's section 11; live snapshots of a node's machine are forbidden).

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// What the system has granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Whether no page of the process is ever written to swap; otherwise, why not and what to do.
    pub locked: Result<(), String>,
}

/// Why the process may not hold secrets.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct MemoryError {
    what: &'static str,
    source: std::io::Error,
}

/// Forbids core files and debuggers, and locks the memory where the system allows it.
///
/// Call it before the first secret is read.
///
/// # Errors
/// When core files or debuggers cannot be forbidden, which the system always allows; memory that
/// cannot be locked is reported and is the operator's to judge.
pub fn protect() -> Result<Protection, MemoryError> {
    let failed = |what| {
        move |e: rustix::io::Errno| MemoryError {
            what,
            source: e.into(),
        }
    };
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(failed("forbid core files"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("forbid debuggers"))?;
    Ok(Protection { locked: lock_all() })
}

/// Locks all pages, present and future. A limit below the process's needs would make a later
/// allocation fail in the middle of signing, so it is not tried under one.
fn lock_all() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() && !rustix::process::geteuid().is_root() {
        let bytes = limit.current.unwrap_or_default();
        return Err(format!(
            "the limit for locked memory is {bytes} bytes: raise it to unlimited (systemd: \
             `LimitMEMLOCK=infinity`, shells: `ulimit -l unlimited`) or switch swap off"
        ));
    }
    // `ONFAULT` locks pages as they are used, not the whole reserve of every thread's stack.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|e| {
        format!("the system does not lock the process's memory: {e}; switch swap off instead")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::dumpable_behavior;

    /// Tests run in a process of their own each, so what is forbidden here is forbidden here only.
    #[test]
    fn a_protected_process_dumps_no_core_and_is_not_debugged() {
        let protection = protect().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        let dumpable = dumpable_behavior().unwrap();
        assert_eq!(dumpable, DumpableBehavior::NotDumpable);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let locked = status.lines().find(|l| l.starts_with("VmLck:")).unwrap();
        let kib: u64 = locked.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(
            protection.locked.is_ok(),
            kib > 0,
            "{protection:?}, {locked}"
        );
    }
}
