use proptest::prelude::*;

use super::*;

fn put(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn only_what_json_can_not_hold_is_escaped() {
    let table: &[(&[u8], &str)] = &[
        (b"", r#""""#),
        (b"plain", r#""plain""#),
        ("Größe \u{2028} 日本 🐘".as_bytes(), "\"Größe \u{2028} 日本 🐘\""),
        (b"say \"hi\" \\ bye", r#""say \"hi\" \\ bye""#),
        (b"\0\x01\x08\t\n\x0b\x0c\r\x1f\x7f", "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\""),
        // Exactly one stride, and one byte on either side of it.
        (b"0123456789abcde\"", r#""0123456789abcde\"""#),
        (b"0123456789abcdef\"", r#""0123456789abcdef\"""#),
        (b"\"0123456789abcdef", r#""\"0123456789abcdef""#),
    ];
    for (text, expected) in table {
        assert_eq!(put(|out| string(text, out)), *expected);
    }
}

#[test]
fn bytes_that_are_not_utf8_are_spelt_out() {
    let table: &[(&[u8], &str)] = &[
        (b"caf\xe9", r#""caf\\xe9""#),
        (b"\xff\xfe", r#""\\xff\\xfe""#),
        // A sequence that is cut, an encoded surrogate, and an overlong slash.
        (b"\xe6\x97", r#""\\xe6\\x97""#),
        (b"a\xed\xa0\x80b", r#""a\\xed\\xa0\\x80b""#),
        (b"\xc0\xaf\"", r#""\\xc0\\xaf\"""#),
    ];
    for (text, expected) in table {
        assert_eq!(put(|out| string(text, out)), *expected);
    }
}

#[test]
fn embedded_json_stays_as_it_is_but_in_one_line() {
    let table: &[(&[u8], &str)] = &[
        (b"{\"a\": 1e400, \"a\": \"\\u0000\\n\"}", r#"{"a": 1e400, "a": "\u0000\n"}"#),
        (b"{\n\t\"a\":\r\n1}\n", "{ \t\"a\":  1} "),
        (b"\"caf\xe9\"", r#""caf\\xe9""#),
        (b"{\n\"\xe9\":\n1}", r#"{ "\\xe9": 1}"#),
    ];
    for (text, expected) in table {
        assert_eq!(put(|out| embedded(text, out)), *expected);
    }
}

#[test]
fn base64_is_padded_at_the_end_alone() {
    for len in [0, 1, 2, 3, 3071, 3072, 3073, 10_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        assert_eq!(put(|out| base64(&bytes, out)), STANDARD.encode(&bytes), "{len} bytes");
    }
}

#[test]
fn a_number_is_what_json_takes_for_one() {
    for number in ["0", "-0", "7", "-12", "9223372036854775807", "0.5", "1.25e-07", "1e+20", "-1E5", "10.0"] {
        assert!(is_number(number.as_bytes()), "{number}");
    }
    let not = [
        "",
        "-",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        "-01",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "1 ",
        "1-2",
        "0x1",
    ];
    for text in not {
        assert!(!is_number(text.as_bytes()), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_reads_back_as_it_was(text in any::<String>(), pad in 0..40_usize) {
        let text = format!("{}{text}", "x".repeat(pad));
        let json = put(|out| string(text.as_bytes(), out));
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        prop_assert!(!json.contains('\n'));
    }

    #[test]
    fn any_bytes_become_a_string_of_json(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let read: String = serde_json::from_str(&put(|out| string(&bytes, out))).unwrap();
        let spelt: String = bytes.utf8_chunks().fold(String::new(), |spelt, chunk| {
            let invalid: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
            spelt + chunk.valid() + &invalid
        });
        prop_assert_eq!(read, spelt);
    }

    #[test]
    fn numbers_are_told_as_a_parser_of_json_does(text in "[-+]?[0-9]{0,3}[.]?[0-9]{0,2}([eE][-+]?[0-9]{0,2})?") {
        let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        prop_assert_eq!(is_number(text.as_bytes()), parsed.is_ok(), "{}", text);
    }
}
