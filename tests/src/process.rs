//! Child processes that never outlive a test, and what the kernel says they used.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

/// A child that is killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        command.spawn().map(Self)
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// CPU time used until now, user and system.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.id())
    }

    /// Resident memory in bytes: now, and at its peak.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let kilobytes = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_whitespace().nth(1))
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
        };
        (kilobytes("VmRSS:") * 1024, kilobytes("VmHWM:") * 1024)
    }

    /// Starts the measurement of the peak anew.
    pub fn reset_peak(&self) {
        // Not allowed in some sandboxes; the peak is then that of the whole run.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.id()), "5");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time of all threads of a process, in nanoseconds in `/proc/PID/task/*/schedstat`: what `/proc/PID/stat` counts
/// in ticks of 10 ms is too coarse for one change. Threads that have ended are not in it; ours stay.
fn cpu_of(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
