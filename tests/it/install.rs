//! `make install` into a folder, what `make uninstall` leaves, and the binary that `make release` builds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{Authority, Cluster, DB_NAME, Manager, Options, Slotd, by_name};

const DYNAMIC: &str = env!("CARGO_BIN_EXE_slotd");

/// Runs `make` in the checkout; what it says.
fn make(args: &[&str]) -> String {
    said_by(&mut make_command(args))
}

fn make_command(args: &[&str]) -> Command {
    let mut make = Command::new("make");
    make.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    // Of a make above us.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(name);
    }
    make
}

fn said_by(command: &mut Command) -> String {
    let (succeeded, said) = outcome(command);
    assert!(succeeded, "{command:?}: {said}");
    said
}

/// Whether it succeeds, and what it says.
fn outcome(command: &mut Command) -> (bool, String) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `make tools` gets what is missing"));
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// systemd knows every setting of the unit below `root`, and finds the programs that it starts.
fn verify(root: &Path) {
    let root = format!("--root={}", root.display());
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no", &root, "slotd.service"]);
    assert_eq!(said_by(&mut verify), "");
}

/// The files below `root`, each with its mode, in order.
fn files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
                files.push(format!("{mode:04o} /{}", path.strip_prefix(root).unwrap().display()));
            }
        }
    }
    files.sort_by(|a, b| a[5..].cmp(&b[5..]));
    files
}

#[test]
fn a_binary_that_fails_or_is_of_other_sources_is_not_installed() {
    let folder = tempfile::tempdir().unwrap();
    let destdir = format!("DESTDIR={}", folder.path().display());
    let script = |path: &Path| {
        fs::write(path, "#!/bin/sh\necho 'no completions here' >&2\nexit 1\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let failing = folder.path().join("failing");
    script(&failing);
    let (installed, said) =
        outcome(&mut make_command(&["install", &format!("BINARY={}", failing.display()), &destdir]));
    assert!(!installed && said.contains("no completions here"), "{said}");

    // Root, who installs, may have no Rust, and then what stands there has to be of these sources.
    let (cargo, target) = ("CARGO=no-such-cargo", "TARGET=of-other-sources");
    let release = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/of-other-sources/release");
    let without = || outcome(&mut make_command(&["install", cargo, target, &destdir]));
    let (installed, said) = without();
    assert!(!installed && said.contains("neither") && said.contains("make release"), "{said}");
    fs::create_dir_all(&release).unwrap();
    script(&release.join("slotd"));
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options().write(true).open(release.join("slotd")).unwrap().set_modified(old).unwrap();
    let (installed, said) = without();
    fs::remove_dir_all(release.parent().unwrap()).unwrap();
    assert!(!installed && said.contains("is older than") && said.contains("make release"), "{said}");
}

#[test]
fn install_puts_everything_in_its_place_and_uninstall_leaves_what_is_yours() {
    let folder = tempfile::tempdir().unwrap();
    let (root, destdir) = (folder.path(), format!("DESTDIR={}", folder.path().display()));
    let binary = format!("BINARY={DYNAMIC}");
    let install = |prefix: &str| make(&["install", &binary, &destdir, &format!("PREFIX={prefix}")]);
    install("/usr");
    let installed = [
        "0640 /etc/slotd/slotd.toml",
        "0755 /usr/bin/slotd",
        "0644 /usr/lib/systemd/system/slotd.service",
        "0644 /usr/lib/sysusers.d/slotd.conf",
        "0644 /usr/share/bash-completion/completions/slotd",
        "0644 /usr/share/doc/slotd/slotd.toml",
        "0644 /usr/share/fish/vendor_completions.d/slotd.fish",
        "0644 /usr/share/man/man1/slotd.1",
        "0644 /usr/share/zsh/site-functions/_slotd",
    ];
    assert_eq!(files(root), installed);
    let script = "source \"$0\"; COMP_WORDS=(slotd re); COMP_CWORD=1; _slotd slotd re slotd; echo \"${COMPREPLY[*]}\"";
    let completed = said_by(
        Command::new("bash").args(["-c", script]).arg(root.join("usr/share/bash-completion/completions/slotd")),
    );
    assert_eq!(completed, "reload resume\n");
    let etc = root.join("etc/slotd");
    assert_eq!(etc.metadata().unwrap().permissions().mode() & 0o7777, 0o750);

    let at_root = format!("--root={}", root.display());
    verify(root);
    said_by(Command::new("systemd-sysusers").args([&at_root, "slotd.conf"]));
    let user = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(
        user.lines().any(|line| line.starts_with("slotd:") && line.contains(":/var/lib/slotd:/usr/sbin/nologin")),
        "{user}"
    );
    for made in ["passwd", "shadow", "group", "gshadow", ".pwd.lock"] {
        // Whatever of it is there.
        let _ = fs::remove_file(root.join("etc").join(made));
    }
    // The example is a whole file, once its password is there.
    fs::write(etc.join("shop"), "secret\n").unwrap();
    let check = |file: &Path| {
        let mut check = Command::new(root.join("usr/bin/slotd"));
        check.arg("check").arg("-c").arg(file).env("CREDENTIALS_DIRECTORY", &etc);
        check.env("STATE_DIRECTORY", root).env_remove("SLOTD_CONFIG");
        said_by(&mut check)
    };
    check(&etc.join("slotd.toml"));

    fs::write(etc.join("slotd.toml"), "# mine\n").unwrap();
    fs::create_dir_all(root.join("var/lib/slotd/changes")).unwrap();
    fs::write(root.join("var/lib/slotd/changes/shop.jsonl"), "{}\n").unwrap();
    install("/usr");
    assert_eq!(fs::read_to_string(etc.join("slotd.toml")).unwrap(), "# mine\n");
    let said = make(&["uninstall", &destdir, "PREFIX=/usr"]);
    for left in ["/etc/slotd", "/var/lib/slotd", "the user slotd", "pg_drop_replication_slot"] {
        assert!(said.contains(left), "it says nothing of {left}: {said}");
    }
    let yours = ["0644 /etc/slotd/shop", "0640 /etc/slotd/slotd.toml", "0644 /var/lib/slotd/changes/shop.jsonl"];
    assert_eq!(files(root), yours);
    make(&["uninstall", &destdir, "PREFIX=/usr"]);

    // Elsewhere, the unit names the binary where it is.
    install("/usr/local");
    let unit = fs::read_to_string(root.join("usr/local/lib/systemd/system/slotd.service")).unwrap();
    for line in ["ExecStart=/usr/local/bin/slotd run", "ExecReload=/usr/local/bin/slotd reload"] {
        assert!(unit.lines().any(|there| there == line), "{unit}");
    }
    verify(root);
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn the_release_is_one_static_binary_that_resolves_verifies_and_streams() {
    let built = said_by(Command::new("rustc").arg("-vV"));
    let host = built.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    make(&["release", "JOBS=2"]);
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/{host}/release/slotd"));
    let ldd = Command::new("ldd").arg(&binary).output().unwrap();
    let ldd = String::from_utf8([ldd.stdout, ldd.stderr].concat()).unwrap();
    assert!(ldd.contains("statically linked") || ldd.contains("not a dynamic executable"), "{ldd}");

    let authority = Authority::new();
    let certificate = Some(authority.leaf(&[DB_NAME]));
    let cluster = Cluster::start(18, &Options { certificate, ..Options::default() });
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
    let entry = cluster.entry(&dbname).replace("127.0.0.1", DB_NAME).replace("ssl = false\n", "");
    let mut slotd = Slotd::new(&entry);
    slotd.use_program(&binary);
    // The system's roots, which the file does not name.
    let roots = slotd.path("roots.pem");
    fs::write(&roots, authority.pem()).unwrap();
    slotd.set_env("SSL_CERT_FILE", roots.to_str().unwrap());
    let manager = Manager::new();
    manager.look_after(&mut slotd, None);
    slotd.run_by(&by_name(&slotd.path("")));
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO items DEFAULT VALUES").await;
    slotd.await_lines(&dbname, 1).await;
    manager.until_status("1 streaming").await;
    let (status, said) = slotd.command_output(&["status"]).await;
    assert!(status.success() && said.contains("streaming"), "{said}");
    assert!(slotd.sigterm().await.success());
}
