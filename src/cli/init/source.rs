//! A connection URL as it was typed, in the parts that the file keeps apart.

use crate::cli::failure::{Exit, Failure};

/// libpq's parameters that have a key in the file.
const KEYS: &[(&str, &str)] = &[
    ("channel_binding", "channel_binding"),
    ("sslcert", "ssl_cert"),
    ("sslcrl", "ssl_crl"),
    ("sslkey", "ssl_key"),
    ("sslnegotiation", "ssl_negotiation"),
    ("sslrootcert", "ssl_root_cert"),
];

/// What the URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Without password and parameters.
    pub(super) url: String,
    /// The same with its password, as the file would have it.
    pub(super) whole: String,
    /// Lines of the file for the parameters.
    pub(super) keys: Vec<String>,
}

impl Source {
    /// The URL as TOML has it, with the variable `password` in it.
    pub(super) fn with(&self, password: Option<&str>) -> String {
        let Some(variable) = password else { return quoted(&self.url) };
        let url = self.url.replace('$', "$$");
        let held = url.replacen('@', &format!(":${{{variable}}}@"), 1);
        serde_json::Value::from(held).to_string()
    }
}

impl Source {
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let (whole, parameters) = text.split_once('?').unwrap_or((text, ""));
        let mut keys = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            keys.push(key(parameter)?);
        }
        Ok(Self { url: without_password(whole), whole: whole.replace('$', "$$"), keys })
    }
}

fn key(parameter: &str) -> Result<String, Failure> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let unknown = |hint: &str| {
        Failure::new(Exit::Usage, format!("the parameter {name} of the URL has no place in the file")).hint(hint)
    };
    if name == "sslmode" {
        return match value {
            "disable" => Ok("ssl = false".to_owned()),
            "require" | "verify-ca" | "verify-full" => Ok(format!("ssl_mode = {}", quoted(value))),
            _ => Err(unknown(
                "sslmode is verify-full (the default here), verify-ca, require or disable: slotd never falls back to plain text by itself",
            )),
        };
    }
    match KEYS.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, ours)) => Ok(format!("{ours} = {}", quoted(value))),
        None => Err(unknown("leave it out; config/slotd.toml lists every key")),
    }
}

/// `text` as TOML has it, with nothing in it expanded.
pub(super) fn quoted(text: &str) -> String {
    // The escapes of JSON are among those of TOML.
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, place)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{place}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_url_and_parameters_become_keys() {
        let source =
            Source::read("postgresql://slotd:p%40$s@[::1]:5433/shop?sslmode=verify-ca&sslrootcert=/ca.pem").unwrap();
        assert_eq!(source.url, "postgresql://slotd@[::1]:5433/shop");
        assert_eq!(source.whole, "postgresql://slotd:p%40$$s@[::1]:5433/shop");
        assert_eq!(source.keys, ["ssl_mode = \"verify-ca\"", "ssl_root_cert = \"/ca.pem\""]);
        assert_eq!(Source::read("postgres://a@b/c?sslmode=disable").unwrap().keys, ["ssl = false"]);
        for bad in ["sslmode=prefer", "sslmode=allow", "application_name=x", "target_session_attrs=any"] {
            let refused = Source::read(&format!("postgres://a@b/c?{bad}")).unwrap_err();
            assert!(refused.hint.is_some(), "{bad}");
        }
    }
}
