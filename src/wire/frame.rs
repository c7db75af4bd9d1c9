//! From a buffer to the next whole message.

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend;

/// The longest message that is taken: Postgres itself sends none beyond 1 GiB.
const MAX_LEN: usize = 0x4000_0400;

/// Bytes that are not the protocol.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the server sent a message of {0} bytes, which the protocol does not allow")]
    Length(i64),
    #[error("the server sent a message that can't be read")]
    Malformed(#[source] std::io::Error),
}

/// The first five bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its kind.
    pub tag: u8,
    /// Its length in bytes, these five included.
    pub len: usize,
}

impl Header {
    /// The bytes that a header has.
    pub const LEN: usize = 5;

    /// The header at the front of `bytes`, once it is there.
    ///
    /// # Errors
    /// The length is not one.
    #[inline]
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk() else { return Ok(None) };
        let len = i32::from_be_bytes([a, b, c, d]);
        match usize::try_from(len) {
            Ok(len @ 4..MAX_LEN) => Ok(Some(Self { tag, len: len + 1 })),
            _ => Err(FrameError::Length(len.into())),
        }
    }
}

/// The tag of CopyData.
pub const COPY_DATA: u8 = b'd';
/// The tag of CopyDone.
pub const COPY_DONE: u8 = b'c';
/// The tag of CopyBothResponse, which `postgres-protocol` does not know.
const COPY_BOTH: u8 = b'W';

/// A message from the server.
#[expect(missing_debug_implementations, reason = "the messages of postgres-protocol have none")]
pub enum Backend {
    /// The server begins to stream.
    CopyBoth,
    /// A piece of the stream.
    CopyData(Bytes),
    /// All that is not of replication alone.
    Other(backend::Message),
}

/// Takes the next whole message off the front of `buf`; `None` until one is whole.
///
/// # Errors
/// The bytes are not the protocol.
pub fn next(buf: &mut BytesMut) -> Result<Option<Backend>, FrameError> {
    let Some(header) = Header::peek(buf)? else { return Ok(None) };
    if buf.len() < header.len {
        buf.reserve(header.len - buf.len());
        return Ok(None);
    }
    match header.tag {
        COPY_BOTH => {
            buf.advance(header.len);
            Ok(Some(Backend::CopyBoth))
        }
        COPY_DATA => {
            let mut frame = buf.split_to(header.len);
            frame.advance(Header::LEN);
            Ok(Some(Backend::CopyData(frame.freeze())))
        }
        _ => {
            // A frame of its own, so that a malformed one can't eat into the next.
            let mut frame = buf.split_to(header.len);
            backend::Message::parse(&mut frame)
                .map_err(FrameError::Malformed)?
                .map(|message| Some(Backend::Other(message)))
                .ok_or_else(|| FrameError::Malformed(std::io::ErrorKind::UnexpectedEof.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_once_it_is_whole() {
        let whole = b"Z\x00\x00\x00\x05Id\x00\x00\x00\x06hi";
        for cut in 0..6 {
            let mut buf = BytesMut::from(&whole[..cut]);
            assert!(next(&mut buf).unwrap().is_none());
            assert_eq!(buf.len(), cut);
        }
        let mut buf = BytesMut::from(&whole[..]);
        assert!(matches!(next(&mut buf).unwrap(), Some(Backend::Other(backend::Message::ReadyForQuery(_)))));
        let Some(Backend::CopyData(data)) = next(&mut buf).unwrap() else { panic!("no CopyData") };
        assert_eq!(&data[..], b"hi");
        assert!(buf.is_empty());
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        for bad in [b"d\x00\x00\x00\x03", b"d\xff\xff\xff\xff", b"d\x7f\xff\xff\xff"] {
            assert!(matches!(Header::peek(bad), Err(FrameError::Length(_))));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = next(&mut buf) {}
        }
    }
}
