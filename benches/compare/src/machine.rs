//! Where it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::server::Failure;
use crate::tools::root;

/// Cores, memory, system and file system, in one line.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let total: u64 = total.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let disk = file_system(&std::env::temp_dir()).unwrap_or_else(|_| "an unknown file system".to_owned());
    format!("{cores} cores of {model}, {} GiB, Linux {}, {disk}", total.div_ceil(1 << 20), kernel.trim())
}

/// The checkout's commit.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root()).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "no commit".to_owned() };
    let changed = git(&["status", "--porcelain", "--", "src", "Cargo.lock"]).is_some_and(|changed| !changed.is_empty());
    if changed { commit + " and changes" } else { commit }
}

/// The type of the file system that `path` is on.
fn file_system(path: &Path) -> Result<String, Failure> {
    let path = path.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mounts = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    let mount = mounts.max_by_key(|fields| fields[1].len()).ok_or("no mount")?;
    Ok(mount[2].to_owned())
}

/// Refuses to measure where nothing is durable, or where the servers' user can't be.
pub(crate) fn check_disk() -> Result<(), Failure> {
    let folder = std::env::temp_dir();
    let kind = file_system(&folder)?;
    if kind == "tmpfs" || kind == "ramfs" {
        return Err(format!("{} is in memory: BENCH_DIR has to be on a disk", folder.display()).into());
    }
    let user = crate::guard::User::of_servers()?;
    if !user.command("test").arg("-x").arg(&folder).status()?.success() {
        let folder = folder.display();
        return Err(
            format!("the servers' user can't look into {folder}: set BENCH_DIR to a folder where it can").into()
        );
    }
    Ok(())
}
