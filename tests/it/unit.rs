//! The unit: how much it leaves open, and that slotd gets by with what it allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Authority, Cluster, DB_NAME, Manager, Options, Slotd, await_file, by_name, told_of};

const UNIT: &str = include_str!("../../systemd/slotd.service");

fn unit_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/slotd.service")
}

/// What the unit says of `key`, a value for each line.
fn values(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// What `systemd-analyze` prints.
fn systemd_analyze(args: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(args).arg("--no-pager").output();
    let output = output.expect("systemd-analyze is missing: `make tools` installs it");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

#[test]
fn the_exposure_is_at_most_one_and_a_half() {
    let unit = unit_path();
    systemd_analyze(&["security", "--offline=true", "--threshold=15", unit.to_str().unwrap()]);
}

#[tokio::test]
async fn what_the_unit_says_fits_what_slotd_does() {
    // One that ends this way is not started again.
    let mut slotd = Slotd::new("[agent]\nlgo = \"info\"\n");
    let manager = Manager::new();
    manager.look_after(&mut slotd, None);
    slotd.start();
    let status = slotd.ended().await;
    assert_eq!(values("RestartPreventExitStatus"), [status.code().unwrap().to_string()]);
    assert_eq!(manager.rest(), [""; 0], "it was never ready");
    // The longest stop of a file that says nothing about it.
    let mut slotd = Slotd::new("");
    manager.look_after(&mut slotd, None);
    slotd.start();
    manager.until_status("no database").await;
    assert!(slotd.sigterm().await.success());
    let stopping = [manager.next().await];
    let micros: u64 = told_of(&stopping, "EXTEND_TIMEOUT_USEC")[0].parse().unwrap();
    let [timeout] = values("TimeoutStopSec")[..] else { panic!("TimeoutStopSec") };
    assert!(timeout.strip_suffix('s').unwrap().parse::<u64>().unwrap() * 1_000_000 >= micros, "{timeout}");
    let main = include_str!("../../src/main.rs");
    let threads = main.split_once("max_blocking_threads(").and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
    let [tasks] = values("TasksMax")[..] else { panic!("TasksMax") };
    assert!(tasks.parse::<u32>().unwrap() > threads.parse::<u32>().unwrap() + 16, "{tasks} tasks, {threads} threads");
}

/// The system calls of each set, as this systemd has it; a set may name others.
fn sets() -> BTreeMap<String, Vec<String>> {
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last = String::new();
    for line in systemd_analyze(&["syscall-filter"]).lines() {
        let word = line.trim();
        if line.starts_with('@') {
            word.clone_into(&mut last);
            sets.insert(last.clone(), Vec::new());
        } else if line.starts_with(' ') && !word.starts_with('#') {
            sets.get_mut(&last).unwrap().push(word.to_owned());
        }
    }
    sets
}

fn expand(name: &str, sets: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    match sets.get(name) {
        Some(members) => members.iter().flat_map(|member| expand(member, sets)).collect(),
        None => BTreeSet::from([name.to_owned()]),
    }
}

/// The system calls that the unit allows.
fn allowed() -> BTreeSet<String> {
    let sets = sets();
    let mut allowed = expand("@default", &sets);
    for filter in values("SystemCallFilter") {
        let (remove, names) = filter.strip_prefix('~').map_or((false, filter), |names| (true, names));
        for call in names.split(' ').flat_map(|name| expand(name, &sets)) {
            if remove {
                allowed.remove(&call)
            } else {
                allowed.insert(call)
            };
        }
    }
    assert!(allowed.contains("read") && !allowed.contains("mount"), "the sets of systemd-analyze are not understood");
    allowed
}

/// What in a trace the unit would refuse, each once.
fn refused(trace: &str) -> BTreeSet<String> {
    let allowed = allowed();
    let [families] = values("RestrictAddressFamilies")[..] else { panic!("RestrictAddressFamilies") };
    let families: Vec<_> = families.split(' ').collect();
    let mut refused = BTreeSet::new();
    for line in trace.lines() {
        // The process, then the call: `123 openat(AT_FDCWD, …`. Signals and ends have no such name.
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let family = arguments.split([',', ')']).next().unwrap_or_default();
        if !allowed.contains(name) {
            refused.insert(name.to_owned());
        }
        if matches!(name, "socket" | "socketpair") && !families.contains(&family) {
            refused.insert(format!("{name}({family})"));
        }
        // MemoryDenyWriteExecute.
        let executable = arguments.contains("PROT_EXEC");
        if executable && (name == "mprotect" || name == "mmap" && arguments.contains("PROT_WRITE")) {
            refused.insert(call.to_owned());
        }
    }
    refused
}

#[tokio::test]
async fn every_system_call_is_one_that_the_unit_allows() {
    let authority = Authority::new();
    let certificate = Some(authority.leaf(&[DB_NAME]));
    let cluster = Cluster::start(18, &Options { certificate, ..Options::default() });
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY, wide text)").await;
    let entry = cluster.entry(&dbname).replace("127.0.0.1", DB_NAME).replace("ssl = false\n", "");
    let small = "[sinks.changes]\nrotate_size = \"64kB\"\nkeep = \"64kB\"\n";
    let mut slotd = Slotd::new(&format!("{small}{entry}"));
    let root = slotd.path("root.pem");
    fs::write(&root, authority.pem()).unwrap();
    slotd.set_env("SSL_CERT_FILE", root.to_str().unwrap());
    let manager = Manager::new();
    manager.look_after(&mut slotd, Some(Duration::from_secs(2)));
    let (trace, trace_of_reload) = (slotd.path("trace"), slotd.path("trace-of-reload"));
    let traced = |file: &Path| ["strace", "-f", "-o", file.to_str().unwrap()].map(str::to_owned).to_vec();
    let mut words = by_name(slotd.path("").as_path());
    words.extend(traced(&trace));
    // Beside slotd and not above it, so that signals reach slotd.
    words.push("-D".to_owned());
    slotd.run_by(&words);
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;

    let rows = "INSERT INTO items (wide) SELECT repeat('x', 1000) FROM generate_series(1, 100)";
    for _ in 0..4 {
        cluster.execute(&dbname, rows).await;
        slotd.await_acknowledged(&cluster, &dbname).await;
    }
    cluster.execute("postgres", "CHECKPOINT").await;
    slotd.await_acknowledged(&cluster, &dbname).await;
    manager.until(|told| !told_of(told, "WATCHDOG").is_empty()).await;
    manager.rest();
    slotd.configure(&format!("{small}{entry}status = \"disabled\"\n"));
    slotd.sighup();
    manager.until_status("1 disabled").await;
    slotd.configure(&format!("{small}{entry}"));
    let (status, said) = slotd.command_by(&traced(&trace_of_reload), &["reload"]).await;
    assert!(status.success(), "{said}");
    slotd.await_state(&dbname, "streaming").await;
    let pid = slotd.pid().unwrap();
    assert!(slotd.sigterm().await.success());

    let is_end =
        |line: &str| line.strip_prefix(&pid.to_string()).is_some_and(|end| end.trim() == "+++ exited with 0 +++");
    let trace = await_file(&trace, |text| text.lines().last().is_some_and(is_end)).await;
    for seen in
        ["AF_INET,", "AF_UNIX,", "sendto(", "rename", "unlink", "fdatasync(", "SIGHUP", "RELOADING=1", "WATCHDOG=1"]
    {
        assert!(trace.contains(seen), "the trace does not show {seen}");
    }
    assert_eq!(refused(&trace), BTreeSet::new());
    assert_eq!(refused(&fs::read_to_string(trace_of_reload).unwrap()), BTreeSet::new());
}

#[test]
fn a_trace_with_what_the_unit_refuses_is_refused() {
    let trace = "12 mount(\"a\", \"b\") = 0\n12  socket(AF_NETLINK, SOCK_RAW) = 3\n12 socket(AF_INET6, SOCK_DGRAM) = 4\n\
        12 <... futex resumed>) = 0\n12 --- SIGHUP {si_signo=SIGHUP} ---\n12 +++ exited with 0 +++\n\
        13 read(5,  <unfinished ...>\n13 mmap(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0x1\n\
        13 mprotect(0x1, 4096, PROT_READ|PROT_EXEC) = 0\n";
    let refused: Vec<_> = refused(trace).into_iter().collect();
    assert_eq!(refused, ["mount", "mprotect(0x1, 4096, PROT_READ|PROT_EXEC) = 0", "socket(AF_NETLINK)"]);
}
