//! What is wrong with a value, before it is known where the value stands.

/// A value that breaks the rule of its kind. It never holds the value: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Lower case, no full stop.
    pub(super) sentence: String,
    /// What to write instead.
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<crate::ident::NameError> for Wrong {
    fn from(error: crate::ident::NameError) -> Self {
        Self::new(error.to_string())
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
            let part = word.len() >= 4 && candidate.contains(word.as_str());
            (distance <= allowed || part).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["port", "password", "hostname", "postgres_databases"];
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("Password", known), Some("password"));
        assert_eq!(nearest("host_name", known), Some("hostname"));
        assert_eq!(nearest("databases", known), Some("postgres_databases"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
