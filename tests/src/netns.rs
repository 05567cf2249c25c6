//! A network namespace of a test's own, in which every address of 10.0.0.0/8 is there and every port is free.
//!
//! Kubernetes takes no loopback addresses for endpoints, and golden cases name addresses of their own. As root the
//! namespace is of the network alone, so that Nomad, which mounts cgroups, runs in it too. For anybody else there is
//! a user namespace around it; all but Nomad run in that.

use std::{
    net::Ipv4Addr,
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, ensure};

/// Names, inside, the file by which the outer process knows that the test has run.
const INSIDE: &str = "LATEEN_TESTS_NAMESPACE";

/// Takes the loopback interface up, with 10.0.0.1/8 on it: a network of that interface is local as a whole. Any
/// address can be bound, whether it is there or not. Then becomes the command that follows. Python is what a machine
/// has that can build this project; `ip` may be missing. Numbers: <https://man7.org/linux/man-pages/man7/netdevice.7.html>
const PREPARE: &str = r#"
import fcntl, os, socket, struct, sys
any_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SIOCSIFFLAGS, SIOCSIFADDR, UP_AND_RUNNING = 0x8914, 0x8916, 0x41
fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", UP_AND_RUNNING))
address = socket.inet_aton("10.0.0.1")
fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack("16sHH4s16x", b"lo:1", socket.AF_INET, 0, address))
with open("/proc/sys/net/ipv4/ip_nonlocal_bind", "w") as setting:
    setting.write("1")
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// Runs `body` in a namespace: the process starts itself again in one, for this test alone.
///
/// `test` is the test's own name, with its modules (`module::name`).
pub fn run(test: &str, body: impl FnOnce()) -> anyhow::Result<()> {
    if let Some(mark) = std::env::var_os(INSIDE) {
        std::fs::write(mark, test)?;
        body();
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mark = folder.path().join("ran");
    let namespaces: &[&str] = if is_root()? { &["--net"] } else { &["--net", "--map-root-user"] };
    let status = Command::new("unshare")
        .args(namespaces)
        .args(["python3", "-c", PREPARE])
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(INSIDE, &mark)
        .status()
        .context("unshare (util-linux) and python3")?;
    ensure!(status.success(), "{test} failed in its network namespace, see above: {status}");
    // A name that fits no test is no failure to the process that looks for it.
    ensure!(std::fs::read_to_string(&mark).ok().as_deref() == Some(test), "no test is named {test}");
    Ok(())
}

/// Another address of 10.1.0.0/16 each time, outside of what Kubernetes gives to services (10.0.0.0/16).
pub fn address() -> Ipv4Addr {
    static GIVEN: AtomicU16 = AtomicU16::new(1);
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(10, 1, high, low)
}

fn is_root() -> anyhow::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("no user id")?;
    Ok(line.split_whitespace().nth(1) == Some("0"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn addresses_of_the_namespace_can_be_listened_on_and_reached() {
        run("netns::tests::addresses_of_the_namespace_can_be_listened_on_and_reached", || {
            let (one, other) = (address(), address());
            assert_ne!(one, other);
            let listener = TcpListener::bind((one, 80)).unwrap();
            TcpStream::connect((one, 80)).unwrap();
            assert!(TcpStream::connect((other, 80)).is_err());
            listener.accept().unwrap();
        })
        .unwrap();
    }

    #[test]
    fn a_name_that_fits_no_test_is_a_failure() {
        // Where this is the one that runs inside, there is nothing to start.
        assert!(std::env::var_os(INSIDE).is_some() || run("no::such::test", || ()).is_err());
    }
}
