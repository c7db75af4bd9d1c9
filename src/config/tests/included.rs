use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::{Password, load, parse};
use crate::ident::SinkName;

const ALL: &str = "include = [\"conf.d/*.toml\"]\n";

fn entry(name: &str, keys: &str) -> String {
    format!("[[postgres_databases]]\nname = \"{name}\"\nurl = \"postgresql://slotd@db/{name}\"\n{keys}\n")
}

fn names(config: &Config) -> Vec<&str> {
    config.databases.iter().map(|database| database.name.as_str()).collect()
}

#[test]
fn databases_and_sinks_of_all_files_are_one_configuration() {
    let b = format!("[sinks.archive]\ntype = \"stdout\"\n{}", entry("b", ""));
    let files = [("conf.d/a.toml", &*entry("a", "sink = \"archive\"")), ("conf.d/b.toml", &*b)];
    let config = good_with(&format!("{ALL}{}", entry("main", "sink = [\"archive\", \"changes\"]")), &files);
    assert_eq!(names(&config), ["main", "a", "b"]);
    let archive = SinkName::new("archive").unwrap();
    assert_eq!(config.databases[1].sinks, std::slice::from_ref(&archive));
    assert!(config.sinks.contains_key(&archive));
}

#[test]
fn relative_paths_start_at_the_folder_of_their_file() {
    let files = [("conf.d/a.toml", &*entry("a", "password_file = \"a\"\nssl_root_cert = \"ca.pem\""))];
    let config = good_with(ALL, &files);
    let to = &config.databases[0].connection;
    assert_eq!(to.password, Password::File("/etc/slotd/conf.d/a".into()));
    let trust = to.tls.as_ref().unwrap().mode.trust().unwrap();
    assert_eq!(trust.root_cert.as_deref(), Some(Path::new("/etc/slotd/conf.d/ca.pem")));
}

#[test]
fn each_mistake_is_shown_in_its_own_file_and_all_at_once() {
    let files = [
        ("conf.d/1.toml", "[[postgres_databases]]\nname = \"a\"\nurl = \"postgresql://u:hunter2@db/a\"\nprot = 1\n"),
        ("conf.d/2.toml", "# é\n\n[sinks.x]\ntype = \"flie\" # hunter2\n[agent]\nlog = \"info\"\n"),
        ("conf.d/3.toml", "include = [\"more\"]\n[defaults]\nport = 1\n[http]\n[[sinks]]"),
        ("conf.d/4.toml", "name = shop\nport"),
    ];
    let main = format!("{ALL}[agent]\ngrcae = \"1s\"\n");
    insta::assert_snapshot!(shown_of(&main, read_with(&main, &files)));
}

#[test]
fn what_two_files_share_is_shown_in_both() {
    let files = [
        ("conf.d/1.toml", &*format!("[sinks.x]\ntype = \"stdout\"\n{}", entry("a", "slot_name = \"s\""))),
        ("conf.d/2.toml", &*format!("[sinks.x]\ntype = \"file\"\n{}", entry("a", ""))),
        ("conf.d/3.toml", &*entry("c", "slot_name = \"s\"")),
    ];
    insta::assert_snapshot!(shown_of(ALL, read_with(ALL, &files)));
}

#[test]
fn what_can_not_be_included_is_shown_at_its_place() {
    let main = "include = [\"gone.toml\", \"gone/*.toml\", \"*.toml\", \"${NOWHERE}/x\", \"\", 1]\n";
    insta::assert_snapshot!(shown_of(main, read_with(main, &[("slotd.toml", "")])));
    let main = "include = [\"gone.toml\"]\n[[postgres_databases]]\nname = \"a\"\nsink = \"there\"\n";
    let shown = shown_of(main, read_with(main, &[]));
    assert!(!shown.contains("no such sink"), "it may stand in the file that is gone: {shown}");
    let shown = shown_of(
        ALL,
        read_with(ALL, &[("conf.d/1.toml", &entry("a", "sink = \"x\"")), ("conf.d/2.toml", "[sinks.x\n")]),
    );
    assert!(!shown.contains("no such sink"), "it may stand in the file that is broken: {shown}");
}

#[test]
fn include_below_a_table_is_told_where_it_belongs() {
    let shown = shown("[agent]\ninclude = [\"conf.d/*.toml\"]\n");
    assert!(shown.contains("`include` belongs in the first lines of the main file, above its tables"), "{shown}");
}

#[test]
fn a_text_that_is_no_file_includes_none() {
    let shown = shown(ALL);
    assert!(shown.contains("no other file is read here"), "{shown}");
}

/// A folder of files, and what `load` makes of its slotd.toml.
fn loaded(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, Mistakes>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let loaded = load(&folder.path().join("slotd.toml"));
    (folder, loaded)
}

const STATE: &str = "[agent]\nstate_dir = \"state\"\n";

#[test]
fn a_pattern_matches_files_in_order_and_none_that_is_hidden_or_left_over() {
    let main = format!("include = [\"conf.d/*.toml\", \"more[[]1]/*\", \"none/*.toml\"]\n{STATE}");
    let (folder, config) = loaded(&[
        ("slotd.toml", &main),
        ("conf.d/20.toml", &entry("twenty", "")),
        ("conf.d/10.toml", &entry("ten", "")),
        ("conf.d/.hidden.toml", "wrong"),
        ("conf.d/10.toml~", "wrong"),
        ("conf.d/deep.toml/x.toml", "wrong"),
        ("more[1]/a", &entry("more", "")),
        ("more[1]/#a#", "wrong"),
        ("more[1]/a~", "wrong"),
        ("more[1]/.a.swp", "wrong"),
    ]);
    assert_eq!(names(&config.unwrap()), ["ten", "twenty", "more"]);
    symlink("/nonexistent/x.toml", folder.path().join("conf.d/30.toml")).unwrap();
    let shown = load(&folder.path().join("slotd.toml")).unwrap_err().render(Style::Plain);
    assert!(
        shown.contains("conf.d/30.toml does not exist") && shown.contains("include = [\"conf.d/*.toml\""),
        "{shown}"
    );
}

#[test]
fn a_file_that_is_reached_twice_is_read_once() {
    let main = format!("include = [\"conf.d/b.toml\", \"conf.d/*.toml\", \"./conf.d/../conf.d/a.toml\"]\n{STATE}");
    let (folder, config) =
        loaded(&[("slotd.toml", &main), ("conf.d/a.toml", &entry("a", "")), ("conf.d/b.toml", &entry("b", ""))]);
    assert_eq!(names(&config.unwrap()), ["b", "a"]);
    symlink("a.toml", folder.path().join("conf.d/c.toml")).unwrap();
    assert_eq!(names(&load(&folder.path().join("slotd.toml")).unwrap()), ["b", "a"]);
    let absolute = folder.path().join("conf.d/*.toml").display().to_string();
    fs::write(folder.path().join("slotd.toml"), format!("include = [\"{absolute}\", \"conf.d/c.toml\"]\n{STATE}"))
        .unwrap();
    assert_eq!(names(&load(&folder.path().join("slotd.toml")).unwrap()), ["a", "b"]);
}

#[test]
fn the_main_file_does_not_include_itself() {
    for pattern in ["*.toml", "slotd.toml", "conf.d/../slotd.toml"] {
        let main = format!("include = [\"{pattern}\"]\n{STATE}");
        let (_folder, config) = loaded(&[("slotd.toml", &main), ("conf.d/a.toml", "")]);
        let shown = config.unwrap_err().render(Style::Plain);
        assert!(shown.contains("the main file would include itself") && shown.contains("slotd.toml:1:"), "{shown}");
    }
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let main = format!("include = [\"conf.d\", \"latin.toml\"]\n{STATE}");
    let (folder, config) = loaded(&[("slotd.toml", &main), ("conf.d/a.toml", ""), ("latin.toml", "")]);
    assert!(config.unwrap_err().to_string().contains("conf.d can't be read: Is a directory"));
    fs::write(folder.path().join("latin.toml"), b"\xff").unwrap();
    let shown = load(&folder.path().join("slotd.toml")).unwrap_err().render(Style::Plain);
    assert!(shown.contains("conf.d can't be read") && shown.contains("latin.toml is not UTF-8 text"), "{shown}");
}

#[test]
fn a_folder_whose_name_looks_like_a_pattern_is_no_pattern() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a[b]*");
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    fs::write(folder.join("conf.d/a.toml"), entry("a", "")).unwrap();
    fs::write(folder.join("slotd.toml"), format!("{ALL}{STATE}")).unwrap();
    assert_eq!(names(&load(&folder.join("slotd.toml")).unwrap()), ["a"]);
    fs::write(folder.join("slotd.toml"), format!("include = [\"conf.d/a.toml\"]\n{STATE}")).unwrap();
    assert_eq!(names(&load(&folder.join("slotd.toml")).unwrap()), ["a"]);
}

#[test]
fn a_log_line_names_the_file_of_the_first_mistake() {
    let line = read_with(ALL, &[("conf.d/a.toml", "\nx = 1\ny = 1\n")]).unwrap_err().to_string();
    assert_eq!(line, "/etc/slotd/conf.d/a.toml:2:1: unknown key `x` at the top of the file, and one more mistake");
    assert!(parse(Path::new("x.toml"), ALL, &|_| None).is_err());
}
