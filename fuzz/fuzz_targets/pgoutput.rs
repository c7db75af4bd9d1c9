//! pgoutput: nothing panics, and what decodes can be walked to its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slotd::pgoutput::{self, Message, OldTuple, Tuple};

fn walk(tuple: Tuple<'_>) {
    assert_eq!(tuple.values().count(), tuple.len());
}

fuzz_target!(|bytes: &[u8]| {
    for decoded in [pgoutput::decode(bytes), pgoutput::decode_streamed(bytes)] {
        match decoded {
            Ok(Message::Insert { new, .. }) => walk(new),
            Ok(Message::Update { old, new, .. }) => {
                old.map(OldTuple::tuple).map(walk);
                walk(new);
            }
            Ok(Message::Delete { old, .. }) => walk(old.tuple()),
            Ok(Message::Truncate { relations, .. }) => drop(relations.iter().count()),
            _ => {}
        }
    }
});
