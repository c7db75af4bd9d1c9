use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::parse;

/// Everything that could be printed of the mistakes of `text`, and of its warnings.
fn everything(text: &str) -> String {
    match read(text) {
        Ok(config) => format!("{:?}", config.warnings),
        Err(mistakes) => format!("{}{mistakes}{mistakes:?}", mistakes.render(Style::Plain)),
    }
}

#[test]
fn a_config_is_printed_without_its_passwords() {
    let printed = format!("{:?}", read(WHOLE).unwrap());
    assert!(printed.contains("db.example.com") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_line_with_a_secret_is_shown_without_it() {
    insta::assert_snapshot!(shown(
        r#"
postgres_databases = [{ name = "a", password = "hunter2", prot = 1, hostname = "h" }] # hunter2
[sinks.x]
typ = "hunter2" # hunter2
"#
    ));
}

#[test]
fn no_way_to_get_it_wrong_shows_the_secret() {
    for line in [
        "password = \"hunter2\"",
        "password = \"hunter2\" # hunter2",
        "password = \"hunter2",
        "password = hunter2",
        "password = 'hunter2\nhunter2'",
        "password = \"\"\"\nhunter2",
        "password = \"\"\"\nhunter2\n\"\"\"",
        "password = \"\"\"\n[hunter2\n",
        "password = \"\"\"\nlog = hunter2\n",
        "password = [\"hunter2\"]",
        "password = { a = \"hunter2\" }",
        "password = { a = hunter2 }",
        "password = \"${hunter2-x}hunter2\"",
        "password = \"hunter2$\"",
        "password = \"hunter2\\u0000\"",
        "password = \"a\"\npassword = \"hunter2\"",
        "password \"hunter2\"",
        "password: hunter2",
        "password =\n\"hunter2\"",
        "\"password\" = \"hunter2",
        "pasword = \"hunter2\"",
        "PASSWORD = \"hunter2\"",
        "passwd = hunter2",
        "secret.key = \"hunter2\"",
        "password.x = \"hunter2\"",
        "url = \"postgresql://u:hunter2@h/d\"",
        "url = \"postgresql://u:hunter2@h/d?sslmode=x\"",
        "url = \"postgresql://u:hunter2@h:port/d\"",
        "url = \"postgresql://u:hunter2/x@h/d\"",
        "url = \"postgresql://u:x/?hunter2@h/d\"",
        "url = \"postgresql://u:x?hunter2=1@h/d\"",
        "url = \"mysql://u:hunter2@h/d\"",
        "url = postgresql://u:hunter2@h/d",
        "hostname = \"postgresql://u:hunter2@h/d\"",
        "hostname = postgresql://u:hunter2@h/d",
        "database = \"u:hunter2@//h/d\"\nport = \"\"",
        "log = \"info\" password = \"hunter2\"",
        "log = \"info\", password = \"hunter2\"",
        "x = 1 # hunter2",
        "port = 1000000 # hunter2",
        "port = 10 00 # hunter2",
    ] {
        let shown = everything(&format!("[[postgres_databases]]\nname = \"shop\"\n{line}\n"));
        assert!(!shown.contains("hunter2"), "{line}\nshows\n{shown}");
    }
}

#[test]
fn what_a_variable_holds_is_not_shown() {
    let secret = |_: &str| Some("hunter2://".to_owned());
    for key in ["hostname", "port", "ssl_mode", "slot_name", "status", "sink", "publish", "tables", "max_retained_wal"]
    {
        let value = if key == "tables" { "[\"${V}\"]" } else { "\"${V}\"" };
        let text = format!("[[postgres_databases]]\nname = \"shop\"\n{key} = {value}\n");
        let shown = parse(Path::new("x.toml"), &text, &secret).unwrap_err().render(Style::Plain);
        assert!(shown.contains(key) && !shown.contains("hunter2:"), "{shown}");
    }
}

#[test]
fn the_mask_does_not_tell_the_length() {
    let masked = |secret: &str| shown(&format!("[[postgres_databases]]\npassword = \"{secret}$\"\nname = \"a\""));
    assert_eq!(masked("a"), masked("aaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

const WHOLE: &str = r#"
[agent]
grace = "10s"
[sinks.kept]
type = "file"
[[postgres_databases]]
name = "shop"
hostname = "db.example.com"
database = "shop"
username = "slotd"
password = "hunter2" # and "hunter2" again
port = 5432
tables = ["a", "b"]
[[postgres_databases]]
name = "other"
url = "postgresql://slotd:hunter2@db.example.com/other"
ssl_mode = "verify-ca"
"#;

#[test]
fn no_file_shows_its_secret_in_a_mistake_of_another() {
    // One whole, one broken, one that shares everything with the first.
    let whole = "[sinks.x]\ntype = \"stdout\"\n[[postgres_databases]]\nname = \"a\"\npassword = \"hunter2\" # hunter2\nprot = 1\n";
    let broken = "[[postgres_databases]]\nname = \"a\"\npassword = \"hunter2\nurl = hunter2\n";
    let main =
        "include = [\"*\"]\n[defaults]\npassword = \"hunter2$\" # hunter2\nurl = \"postgresql://u:hunter2@h/d\"\n";
    for files in [[("1", whole), ("2", broken)], [("1", broken), ("2", whole)], [("1", whole), ("2", whole)]] {
        let mistakes = read_with(main, &files).unwrap_err();
        let shown = format!("{}{mistakes}{mistakes:?}", mistakes.render(Style::Plain));
        assert!(shown.contains("/etc/slotd/1") && shown.contains("/etc/slotd/2"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_slip_of_the_hand_shows_the_secret(
        at in 0..WHOLE.len(),
        cut in 0_usize..4,
        put in prop_oneof![Just(""), Just("\""), Just("'"), Just("\n"), Just("="), Just("["), Just("{"), Just("}"),
            Just("#"), Just("\"\"\""), Just("'''"), Just("$"), Just("${"), Just("\\"), Just("x"), Just(", "), Just("]")],
    ) {
        let end = (at + cut).min(WHOLE.len());
        let text = format!("{}{put}{}", &WHOLE[..at], &WHOLE[end..]);
        // A slip inside the secret makes another secret of it.
        if text.matches("hunter2").count() == 3 {
            let shown = everything(&text);
            prop_assert!(!shown.contains("hunter2"), "{text}\nshows\n{shown}");
            // In an included file, before and behind others.
            let text = text.replace("[agent]\ngrace = \"10s\"\n", "");
            let main = "include = [\"*\"]\n[defaults]\nport = 1\n";
            // The first and the last share everything.
            let mistakes = read_with(main, &[("1", WHOLE), ("2", &text), ("3", WHOLE)]).unwrap_err();
            let shown = format!("{}{mistakes}{mistakes:?}", mistakes.render(Style::Plain));
            prop_assert!(!shown.contains("hunter2"), "{text}\nshows\n{shown}");
        }
    }

    #[test]
    fn no_text_panics_and_no_database_is_lost(
        lines in proptest::collection::vec(0..WHOLE.lines().count(), 0..20),
        noise in "\\PC{0,10}",
        at in 0_usize..20,
    ) {
        let mut lines: Vec<_> = lines.iter().filter_map(|line| WHOLE.lines().nth(*line)).collect();
        lines.insert(at.min(lines.len()), &noise);
        let text = lines.join("\n");
        if let Ok(config) = read(&text) {
            let declared = text.lines().filter(|line| line.starts_with("[[postgres_databases]]")).count();
            prop_assert_eq!(config.databases.len(), declared);
        }
    }

    #[test]
    fn nothing_panics(text in "([a-z=\"'\\[\\]{}#$\n .]|url|name|password|sinks|agent|postgres_databases|defaults|include|\\{name\\}){0,40}|\\PC*") {
        let _ = parse(Path::new("x.toml"), &text, &|_| None);
    }
}
