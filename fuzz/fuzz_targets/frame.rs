//! Frames: however bytes are cut, framing gives the same messages, and never reads past what came.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use slotd::wire::frame::{self, Backend};
use slotd::wire::replication::StreamMessage;

/// How many messages there are, and how many bytes of copied data in them.
fn count(pieces: &[&[u8]]) -> (usize, usize) {
    let mut buf = BytesMut::new();
    let mut seen = (0, 0);
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match frame::next(&mut buf) {
                Ok(Some(Backend::CopyData(data))) => {
                    let _ = StreamMessage::parse(&data);
                    seen = (seen.0 + 1, seen.1 + data.len());
                }
                Ok(Some(_)) => seen.0 += 1,
                Ok(None) => break,
                Err(_) => return seen,
            }
        }
    }
    seen
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(count(&[bytes]), count(&[head, tail]));
});
