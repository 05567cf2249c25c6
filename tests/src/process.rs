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

/// CPU time of a process in `/proc/PID/stat` (fields 14 and 15, in ticks of 10 ms on Linux).
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |index: usize| after_name.split_whitespace().nth(index).and_then(|n| n.parse::<u64>().ok());
    Duration::from_millis(10 * (ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)))
}
