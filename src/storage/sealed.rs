//! A line of JSON that tells by itself whether it is whole.
//!
//! `{"crc32":"1c291ca3","state":…}`: readable with `cat`, and what a crash tore does not pass for what was written.

/// `state`, which is JSON, with its checksum around it; without a line break.
#[must_use]
pub fn seal(state: &str) -> String {
    format!(r#"{{"crc32":"{:08x}","state":{state}}}"#, crc32fast::hash(state.as_bytes()))
}

/// The JSON inside `line` if its checksum fits; blanks and line breaks around the line do not count.
#[must_use]
pub fn unseal(line: &[u8]) -> Option<&[u8]> {
    let rest = line.trim_ascii().strip_prefix(br#"{"crc32":""#)?;
    let (checksum, rest) = rest.split_first_chunk::<8>()?;
    let state = rest.strip_prefix(br#"","state":"#)?.strip_suffix(b"}")?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    (crc32fast::hash(state) == checksum).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_found_and_nothing_that_differs_from_it() {
        let line = seal(r#"{"a":1}"#);
        assert_eq!(unseal(line.as_bytes()), Some(&br#"{"a":1}"#[..]));
        assert_eq!(unseal(format!("{line}   \n").as_bytes()), Some(&br#"{"a":1}"#[..]));
        for cut in 0..line.len() {
            assert_eq!(unseal(&line.as_bytes()[..cut]), None, "{cut}");
        }
        for at in 0..line.len() {
            let mut other = line.clone().into_bytes();
            other[at] ^= 1;
            assert_eq!(unseal(&other), None, "{at}");
        }
    }
}
