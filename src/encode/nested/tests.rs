use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

fn encode(r#type: &Type, text: &str) -> String {
    let mut out = Vec::new();
    put(r#type, text.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

fn array(element: Type) -> Type {
    Type::Array { element: Arc::new(element), delimiter: b',' }
}

fn row<const N: usize>(fields: [(&str, Type); N]) -> Type {
    let field = |(name, r#type): (&str, _)| Field { name: name.to_owned(), r#type: Arc::new(r#type) };
    Type::Composite(fields.map(field).into())
}

#[test]
fn arrays_of_any_dimension() {
    let table = [
        ("{}", "[]"),
        ("{1}", "[1]"),
        ("{1,NULL,-3}", "[1,null,-3]"),
        ("{{1,2},{3,4}}", "[[1,2],[3,4]]"),
        ("{{{1},{2}},{{3},{NULL}}}", "[[[1],[2]],[[3],[null]]]"),
        ("{{{{{{1}}}}}}", "[[[[[[1]]]]]]"),
        ("[0:1]={1,2}", "[1,2]"),
        ("[-1:0][2:3]={{1,2},{3,4}}", "[[1,2],[3,4]]"),
    ];
    for (text, json) in table {
        assert_eq!(encode(&array(Type::Int), text), json);
    }
}

#[test]
fn elements_are_taken_out_of_their_quotes() {
    let table = [
        (r#"{"",a,"b c","NULL","null",null}"#, r#"["","a","b c","NULL","null","null"]"#),
        (r#"{"a,b","{}","say \"hi\"","back\\slash","\\\\"}"#, r#"["a,b","{}","say \"hi\"","back\\slash","\\\\"]"#),
        ("{\"two\nlines\",\"\ttab\"}", r#"["two\nlines","\ttab"]"#),
        ("{日本,\"é ü\"}", r#"["日本","é ü"]"#),
    ];
    for (text, json) in table {
        assert_eq!(encode(&array(Type::Text), text), json);
    }
    let boxes = Type::Array { element: Arc::new(Type::Text), delimiter: b';' };
    assert_eq!(encode(&boxes, "{(1,1),(0,0);NULL;(2,2),(1,1)}"), r#"["(1,1),(0,0)",null,"(2,2),(1,1)"]"#);
}

#[test]
fn elements_follow_the_rules_of_their_type() {
    let table = [
        (Type::Bool, "{t,f,NULL}", "[true,false,null]"),
        (Type::Numeric, "{19.90,NaN}", r#"["19.90","NaN"]"#),
        (Type::Float, "{0.1,NaN,-Infinity,1e-07}", r#"[0.1,"NaN","-Infinity",1e-07]"#),
        (Type::Json, r#"{"{\"a\": \"b\\\\c\"}",1,"null",NULL}"#, r#"[{"a": "b\\c"},1,null,null]"#),
        (Type::Json, "{\"{\n\\\"a\\\": 1}\"}", r#"[{ "a": 1}]"#),
        (Type::TimestampTz, r#"{"2026-01-01 00:00:00+00",infinity}"#, r#"["2026-01-01T00:00:00Z","infinity"]"#),
        (Type::Vector(Arc::new(Type::Int)), r#"{"1 2",3}"#, "[[1,2],[3]]"),
    ];
    for (element, text, json) in table {
        assert_eq!(encode(&array(element), text), json);
    }
}

#[test]
fn vectors_are_arrays_of_numbers() {
    let vector = Type::Vector(Arc::new(Type::Int));
    for (text, json) in [("", "[]"), ("1", "[1]"), ("1 -2 3", "[1,-2,3]")] {
        assert_eq!(encode(&vector, text), json);
    }
}

#[test]
fn rows_are_objects() {
    let pair = row([("n", Type::Int), ("t", Type::Text)]);
    let table = [
        ("(1,a)", r#"{"n":1,"t":"a"}"#),
        ("(,)", r#"{"n":null,"t":null}"#),
        (r#"(1,"")"#, r#"{"n":1,"t":""}"#),
        (r#"(1,"two words")"#, r#"{"n":1,"t":"two words"}"#),
        (r#"(1,"say ""hi"", \\ (bye)")"#, r#"{"n":1,"t":"say \"hi\", \\ (bye)"}"#),
        (r#"(1,"""")"#, r#"{"n":1,"t":"\""}"#),
    ];
    for (text, json) in table {
        assert_eq!(encode(&pair, text), json);
    }
    assert_eq!(encode(&row([]), "()"), "{}");
    assert_eq!(encode(&row([("a", Type::Int)]), "()"), r#"{"a":null}"#);
    assert_eq!(encode(&row([("a \"b\"", Type::Int)]), "(1)"), r#"{"a \"b\"":1}"#);
}

#[test]
fn quotes_lie_within_quotes() {
    let pair = row([("n", Type::Int), ("t", Type::Text)]);
    let nested = row([("pairs", array(pair)), ("json", Type::Json), ("ints", array(Type::Int))]);
    // As the server prints row(array[row(1, 'a "\" b'), row(2, null), null]::pair[], '{"k": "v"}', '{1,2}').
    let text = r#"("{""(1,\\""a \\""\\""\\\\\\\\\\""\\"" b\\"")"",""(2,)"",NULL}","{""k"": ""v""}","{1,2}")"#;
    let json = r#"{"pairs":[{"n":1,"t":"a \"\\\" b"},{"n":2,"t":null},null],"json":{"k": "v"},"ints":[1,2]}"#;
    assert_eq!(encode(&nested, text), json);
}

#[test]
fn text_of_another_shape_is_a_string_whole() {
    let pair = || row([("n", Type::Int), ("t", Type::Text)]);
    let misfits: &[(Type, &str)] = &[
        (pair(), "(1)"),
        (pair(), "(1,a,b)"),
        (pair(), "()"),
        (pair(), "(1,a"),
        (pair(), "(1,a)x"),
        (pair(), "1,a"),
        (pair(), r#"(1,"a)"#),
        (pair(), ""),
        (row([("j", Type::Json)]), "(hello)"),
        (row([("j", Type::Json)]), r#"("{""a"": 1")"#),
        (row([("a", array(Type::Int))]), r#"("{1,2")"#),
        (array(Type::Int), ""),
        (array(Type::Int), "{"),
        (array(Type::Int), "{1"),
        (array(Type::Int), "{1,"),
        (array(Type::Int), "{1,}"),
        (array(Type::Int), "{1}}"),
        (array(Type::Int), "[0:1]"),
        (array(Type::Int), "{{{{{{{1}}}}}}}"),
        (array(Type::Text), r#"{"a"#),
        (array(Type::Text), r#"{"a\"#),
        (array(Type::Text), r#"{"a"b}"#),
        (array(pair()), r#"{"(1,a)","(1,a,b)"}"#),
    ];
    for (r#type, text) in misfits {
        assert_eq!(encode(r#type, text), serde_json::to_string(text).unwrap(), "{text}");
    }
}

#[test]
fn a_field_of_another_type_than_its_text_is_a_string() {
    let pair = row([("n", Type::Int), ("b", Type::Bool)]);
    assert_eq!(encode(&pair, "(hello,maybe)"), r#"{"n":"hello","b":"maybe"}"#);
}

#[test]
fn a_value_of_an_altered_type_is_an_object_only_if_its_names_are_certain() {
    let before = row([("a", Type::Int), ("b", Type::Text)]);
    let renamed = row([("a", Type::Int), ("c", Type::Text)]);
    let longer = row([("a", Type::Int), ("b", Type::Text), ("c", Type::Bool)]);
    let either = |now: &Type, text: &str| {
        let mut out = Vec::new();
        put_either(now, &before, text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    // The number of fields tells.
    assert_eq!(either(&longer, "(1,x)"), r#"{"a":1,"b":"x"}"#);
    assert_eq!(either(&longer, "(1,x,t)"), r#"{"a":1,"b":"x","c":true}"#);
    // Nothing tells.
    assert_eq!(either(&renamed, "(1,x)"), r#""(1,x)""#);
    assert_eq!(either(&longer, "(1)"), r#""(1)""#);
    // What holds no row reads the same in both.
    let either = |text: &str| {
        let mut out = Vec::new();
        put_either(&array(renamed.clone()), &array(before.clone()), text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(either("{}"), "[]");
    assert_eq!(either("{NULL}"), "[null]");
    assert_eq!(either(r#"{"(1,x)"}"#), r#""{\"(1,x)\"}""#);
}

#[test]
fn time_grows_with_the_length_and_not_with_its_square() {
    // With a second look at what is known, each of a million elements would be looked for in a million bytes.
    let text = format!(r#"("{{{}}}")"#, vec!["1"; 1_000_000].join(","));
    let json = encode(&row([("ints", array(Type::Int))]), &text);
    assert_eq!(json.len(), "{\"ints\":[]}".len() + 1_999_999);
}

/// `elements` as Postgres prints an array of text.
fn print_array(elements: &[Option<String>]) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let printed: Vec<_> = elements.iter().map(|e| e.as_ref().map_or_else(|| "NULL".to_owned(), quoted)).collect();
    format!("{{{}}}", printed.join(","))
}

/// `fields` as Postgres prints a row.
fn print_row(fields: &[Option<String>]) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\""));
    let printed: Vec<_> = fields.iter().map(|f| f.as_ref().map(quoted).unwrap_or_default()).collect();
    format!("({})", printed.join(","))
}

fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
    let text = prop_oneof![any::<String>(), "[\"\\\\{}(),; \n]{0,12}", Just("NULL".to_owned())];
    prop::collection::vec(prop::option::of(text), 1..8)
}

proptest! {
    #[test]
    fn an_array_reads_back(elements in texts()) {
        let json: Json = serde_json::from_str(&encode(&array(Type::Text), &print_array(&elements))).unwrap();
        prop_assert_eq!(json, serde_json::to_value(&elements).unwrap());
    }

    #[test]
    fn an_array_of_arrays_of_integers_reads_back(
        rows in prop::collection::vec(prop::collection::vec(prop::option::of(any::<i32>()), 3), 1..6),
    ) {
        let text = serde_json::to_string(&rows).unwrap();
        let printed = text.replace('[', "{").replace(']', "}").replace("null", "NULL");
        prop_assert_eq!(encode(&array(Type::Int), &printed), text);
    }

    #[test]
    fn rows_in_arrays_in_rows_read_back(rows in prop::collection::vec(texts(), 1..4)) {
        // All rows of an array have the same fields.
        let width = rows.iter().map(Vec::len).max().unwrap_or_default();
        let names: Vec<_> = (0..width).map(|i| format!("f{i}")).collect();
        let rows: Vec<Vec<_>> = rows
            .into_iter()
            .map(|mut row| {
                row.resize(width, None);
                row
            })
            .collect();
        let field = |name: &String| Field { name: name.clone(), r#type: Arc::new(Type::Text) };
        let element = Type::Composite(names.iter().map(field).collect());
        let printed = print_array(&rows.iter().map(|row| Some(print_row(row))).collect::<Vec<_>>());
        let outer = print_row(&[Some(printed), None]);
        let json: Json =
            serde_json::from_str(&encode(&row([("rows", array(element)), ("none", Type::Int)]), &outer)).unwrap();
        let object = |row: &Vec<Option<String>>| -> Json {
            names.iter().cloned().zip(row.iter().map(|text| serde_json::to_value(text).unwrap())).collect()
        };
        prop_assert_eq!(&json["rows"], &Json::Array(rows.iter().map(object).collect()));
        prop_assert_eq!(&json["none"], &Json::Null);
    }

    #[test]
    fn any_text_at_all_becomes_json(text in "[\"\\\\{}(),; \n\\[\\]=:a1NUL]{0,40}", which in 0..6_usize) {
        let pair = || row([("n", Type::Int), ("j", Type::Json)]);
        let types = [
            array(Type::Int),
            array(Type::Text),
            pair(),
            array(pair()),
            row([("a", array(Type::Json))]),
            Type::Vector(Arc::new(Type::Int)),
        ];
        let json = encode(&types[which], &text);
        prop_assert!(serde_json::from_str::<Json>(&json).is_ok(), "{}", json);
        prop_assert!(!json.contains('\n'));
    }
}
