//! Text as JSON: escaping, and what may stand as a number.
//!
//! Everything here writes straight to an [`Out`], in runs: the bytes between two characters that need an escape are
//! put as they lie, so that a value of 100 MB needs no second copy.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Out;

#[cfg(test)]
mod tests;

/// What stands in for each byte inside a JSON string; empty where the byte stands for itself.
static ESCAPES: [&[u8]; 256] = {
    let mut table: [&[u8]; 256] = [b""; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = CONTROLS[control];
        control += 1;
    }
    table[b'"' as usize] = b"\\\"";
    table[b'\\' as usize] = b"\\\\";
    table
};

/// The escapes of U+0000 to U+001F, as RFC 8259, section 7, has them.
#[rustfmt::skip]
const CONTROLS: [&[u8]; 32] = [
    b"\\u0000", b"\\u0001", b"\\u0002", b"\\u0003", b"\\u0004", b"\\u0005", b"\\u0006", b"\\u0007",
    b"\\b",     b"\\t",     b"\\n",     b"\\u000b", b"\\f",     b"\\r",     b"\\u000e", b"\\u000f",
    b"\\u0010", b"\\u0011", b"\\u0012", b"\\u0013", b"\\u0014", b"\\u0015", b"\\u0016", b"\\u0017",
    b"\\u0018", b"\\u0019", b"\\u001a", b"\\u001b", b"\\u001c", b"\\u001d", b"\\u001e", b"\\u001f",
];

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How many bytes are looked at in one step while nothing needs an escape.
const STRIDE: usize = 16;

/// Puts `text` as a JSON string, quotes included.
pub(super) fn string(text: &[u8], out: &mut impl Out) {
    out.put(b"\"");
    escaped(text, out);
    out.put(b"\"");
}

/// Puts `text` as the inside of a JSON string.
///
/// A byte that is not part of UTF-8 becomes the four characters `\x` and two hexadecimal digits.
pub(super) fn escaped(text: &[u8], out: &mut impl Out) {
    if std::str::from_utf8(text).is_ok() {
        return escaped_utf8(text, out);
    }
    for chunk in text.utf8_chunks() {
        escaped_utf8(chunk.valid().as_bytes(), out);
        invalid(chunk.invalid(), out);
    }
}

/// Puts `text`, which is JSON as Postgres holds it, so that it stays in one line.
///
/// A line break can stand between tokens only, where a blank means the same. Bytes that are not UTF-8 can stand in
/// strings only, and are escaped as [`escaped`] does.
pub(super) fn embedded(text: &[u8], out: &mut impl Out) {
    if std::str::from_utf8(text).is_ok() {
        return one_line(text, out);
    }
    for chunk in text.utf8_chunks() {
        one_line(chunk.valid().as_bytes(), out);
        invalid(chunk.invalid(), out);
    }
}

/// Puts `bytes` as base64, without quotes.
pub(super) fn base64(bytes: &[u8], out: &mut impl Out) {
    let mut encoded = [0; 4096];
    // Whole groups of three, so that only the last chunk is padded.
    for chunk in bytes.chunks(encoded.len() / 4 * 3) {
        let len = STANDARD.encode_slice(chunk, &mut encoded).unwrap_or(0);
        out.put(&encoded[..len]);
    }
}

/// Whether `text` is a number of JSON (RFC 8259, section 6); `NaN` and the infinities are not.
pub(super) fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = digits(fraction);
        if len == 0 {
            return false;
        }
        rest = &fraction[len..];
    }
    let exponent = match rest {
        [] => return true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => exponent,
        _ => return false,
    };
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

fn escaped_utf8(text: &[u8], out: &mut impl Out) {
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest);
        out.put(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { return };
        out.put(ESCAPES[byte as usize]);
        rest = &rest[plain + 1..];
    }
}

/// How many bytes from the front of `text` stand for themselves.
fn plain_prefix(text: &[u8]) -> usize {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // A whole stride without a branch compiles to a few vector instructions.
    let (strides, _) = text.as_chunks::<STRIDE>();
    let clean = strides.iter().take_while(|stride| !stride.iter().fold(false, |any, &b| any | special(b))).count();
    let start = clean * STRIDE;
    text[start..].iter().position(|&b| special(b)).map_or(text.len(), |at| start + at)
}

fn one_line(text: &[u8], out: &mut impl Out) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.put(&rest[..at]);
        out.put(b" ");
        rest = &rest[at + 1..];
    }
    out.put(rest);
}

fn invalid(bytes: &[u8], out: &mut impl Out) {
    for byte in bytes {
        out.put(&[b'\\', b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0x0f)]]);
    }
}
