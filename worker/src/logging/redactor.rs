//! Keeps secrets out of texts that people read.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A secret shorter than this is replaced only where it stands alone: else it would tear words apart, and by that
/// tell what it is.
const SHORT: usize = 4;

/// Replaces secrets in texts: those registered, in each form in which a message may contain them, and whatever
/// stands where secrets do (user and password of a URL, credentials of an `Authorization` header). Clones share what
/// is registered.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: Arc<RwLock<Secrets>>,
}

#[derive(Default)]
struct Secrets {
    /// (secret as registered, form of it), longest form first.
    forms: Vec<(String, String)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Secrets({} forms)", self.forms.len())
    }
}

impl Redactor {
    /// One that knows no secret yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hides `secret` (a password or token) from now on: as it is, escaped once or twice as JSON or Rust do,
    /// percent-encoded. White space around it is not part of it; an empty one is none.
    pub fn register(&self, secret: &str) {
        let secret = secret.trim();
        if secret.is_empty() {
            return;
        }
        let escaped = json_escaped(secret);
        let debug: String = secret.escape_debug().collect();
        let forms = [
            secret.to_owned(),
            json_escaped(&escaped),
            escaped,
            json_escaped(&debug),
            debug,
            percent_encoded(secret, false),
            percent_encoded(secret, true),
        ];
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms {
            if !secrets.forms.iter().any(|(_, known)| *known == form) {
                secrets.forms.push((secret.to_owned(), form));
            }
        }
        secrets.forms.sort_by_key(|(_, form)| std::cmp::Reverse(form.len()));
    }

    /// Hides `password`, and `user` with `password` as an HTTP client sends them.
    pub fn register_basic_auth(&self, user: &str, password: &str) {
        self.register(password);
        self.register(&base64(format!("{user}:{password}").as_bytes()));
    }

    /// Hides the password in `url`, if it has one.
    pub fn register_url(&self, url: &str) {
        if let Some((_, rest)) = url.split_once("://")
            && let Some((credentials, _)) = authority(rest).rsplit_once('@')
            && let Some((_, password)) = credentials.split_once(':')
        {
            self.register(password);
            self.register(&percent_decoded(password));
        }
    }

    /// Hides everything secret that a connection is configured with.
    pub fn register_client(&self, client: &config::worker::HttpClient) {
        self.register_url(&client.url);
        if let Some(password) = &client.password {
            self.register_basic_auth(client.user.as_deref().unwrap_or_default(), password);
        }
        if let Some(token) = &client.bearer_token {
            self.register(token);
        }
    }

    /// No longer hides `secret`: for a token that was replaced and has expired, so that a rotated file does not make
    /// this grow for ever.
    pub fn forget(&self, secret: &str) {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        secrets.forms.retain(|(registered, _)| registered != secret.trim());
    }

    /// `text` without secrets.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut hidden = self.registered_in(text);
        hidden.extend(url_credentials_in(text));
        hidden.extend(authorization_in(text));
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        hidden.sort_unstable();
        let mut clean = String::with_capacity(text.len());
        let mut position = 0;
        for (start, end) in hidden {
            if start >= position {
                clean.push_str(&text[position..start]);
                clean.push_str(REDACTED);
            }
            position = position.max(end);
        }
        clean.push_str(&text[position..]);
        Cow::Owned(clean)
    }

    /// Where registered secrets stand, (start, end).
    fn registered_in(&self, text: &str) -> Vec<(usize, usize)> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (_, form) in &secrets.forms {
            for (start, _) in text.match_indices(form.as_str()) {
                let end = start + form.len();
                if form.len() >= SHORT || stands_alone(text, start, end) {
                    found.push((start, end));
                }
            }
        }
        found
    }
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let part_of_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    !part_of_word(text[..start].chars().next_back()) && !part_of_word(text[end..].chars().next())
}

/// Host, port and credentials of a URL whose scheme is cut off.
fn authority(rest: &str) -> &str {
    let end = rest.find(|character: char| {
        character.is_whitespace() || character.is_control() || "/?#\"'<>\\`(),;{}[]".contains(character)
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// Where URLs have `user:password`, (start, end). The user of a URL goes, too: it may be a token.
fn url_credentials_in(text: &str) -> Vec<(usize, usize)> {
    text.match_indices("://")
        .filter_map(|(scheme_end, separator)| {
            let start = scheme_end + separator.len();
            authority(&text[start..]).rfind('@').filter(|length| *length > 0).map(|length| (start, start + length))
        })
        .collect()
}

/// Where `Authorization: Basic x` or `Authorization: Bearer x` have x, (start, end), however quoted.
fn authorization_in(text: &str) -> Vec<(usize, usize)> {
    // Lower case of ASCII keeps every position.
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for (header, name) in lower.match_indices("authorization") {
        let after_name = header + name.len();
        let value = after_name + lower[after_name..].find(|c: char| !"\\\"':= ".contains(c)).unwrap_or(0);
        for scheme in ["basic ", "bearer "] {
            if let Some(credentials) = lower[value..].strip_prefix(scheme) {
                let spaces = credentials.len() - credentials.trim_start_matches(' ').len();
                let start = value + scheme.len() + spaces;
                let end = text[start..].find(|c: char| c.is_whitespace() || "\"'\\,;".contains(c));
                let end = end.map_or(text.len(), |length| start + length);
                if end > start {
                    found.push((start, end));
                }
            }
        }
    }
    found
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// As in a URL: every byte but unreserved ones, or every one that is neither unreserved nor a sub-delimiter (RFC 3986
/// section 2, 3.2.1).
fn percent_encoded(text: &str, keep_delimiters: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let kept = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || (keep_delimiters && b"!$&'()*+,;=".contains(&byte));
        if kept {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let escape = match (first, rest) {
            (b'%', [high, low, ..]) => char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16)),
            _ => None,
        };
        match escape {
            // Two hexadecimal digits make a byte.
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            None => {
                decoded.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Standard alphabet with padding (RFC 4648 section 4), as the header of basic authentication has it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            // Six bits are below 64.
            let letter = ALPHABET[(group >> (18 - 6 * digit) & 63) as usize];
            text.push(if digit <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn knowing(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::new();
        secrets.iter().for_each(|secret| redactor.register(secret));
        redactor
    }

    #[test]
    fn credentials_are_hidden_where_they_usually_stand_even_if_nobody_registered_them() {
        for (text, clean) in [
            ("GET http://user:pa%2Fss@tsdb:8428/api", "GET http://[redacted]@tsdb:8428/api"),
            ("(https://token@host)", "(https://[redacted]@host)"),
            ("a http://a:b@x and http://c:d@y", "a http://[redacted]@x and http://[redacted]@y"),
            ("Authorization: Basic dTpw", "Authorization: Basic [redacted]"),
            (r#"{"authorization": "Bearer ey.J.x", "a": 1}"#, r#"{"authorization": "Bearer [redacted]", "a": 1}"#),
        ] {
            assert_eq!(Redactor::new().redact(text), clean);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in
            ["http://tsdb:8428/a@b", "mail me@here", "basic auth", "authorization: none", "://", "authorization"]
        {
            assert_eq!(Redactor::new().redact(text), text);
        }
    }

    #[test]
    fn the_header_of_basic_authentication_is_hidden() {
        // The example of RFC 7617 section 2.
        let redactor = Redactor::new();
        redactor.register_basic_auth("Aladdin", "open sesame");
        assert_eq!(redactor.redact("got QWxhZGRpbjpvcGVuIHNlc2FtZQ== back"), "got [redacted] back");
        assert_eq!(redactor.redact("open sesame"), REDACTED);
    }

    #[test]
    fn the_password_of_a_url_is_hidden_wherever_it_turns_up() {
        let redactor = Redactor::new();
        redactor.register_url("https://me:p%40ssword@host/path");
        assert_eq!(redactor.redact("wrong password p@ssword (p%40ssword)"), "wrong password [redacted] ([redacted])");
    }

    #[test]
    fn a_longer_secret_is_hidden_whole_if_a_shorter_one_is_part_of_it() {
        assert_eq!(knowing(&["hunter", "hunter22"]).redact("hunter22, hunter"), "[redacted], [redacted]");
    }

    #[test]
    fn a_short_secret_does_not_tear_words_apart() {
        assert_eq!(knowing(&["in"]).redact("running in 'in'"), "running [redacted] '[redacted]'");
    }

    #[test]
    fn an_empty_secret_is_none_and_a_forgotten_one_is_shown_again() {
        let redactor = knowing(&["", "  \n", "old-token\n"]);
        assert_eq!(redactor.redact("x old-token"), "x [redacted]");
        redactor.forget("old-token");
        assert_eq!(redactor.redact("x old-token"), "x old-token");
    }

    proptest! {
        #[test]
        fn a_registered_secret_never_shows_however_it_is_quoted(
            secret in r#"[a-zA-Z0-9"\\/@:%äß \t{}-]{4,20}"#, before in "[ -~]{0,10}", after in "[ -~]{0,10}"
        ) {
            let secret = secret.trim();
            prop_assume!(secret.len() >= SHORT && !REDACTED.contains(secret));
            let redactor = knowing(&[secret]);
            let json = serde_json::json!({ "error": secret }).to_string();
            for text in [secret.to_owned(), format!("{secret:?}"), json.clone(), format!("{json:?}"),
                percent_encoded(secret, false), percent_encoded(secret, true)] {
                let line = format!("{before}|{text}|{after}");
                let clean = redactor.redact(&line);
                prop_assert!(clean.contains(REDACTED) && !clean.contains(&format!("|{text}|")), "{clean}");
                prop_assert!(!clean.contains(secret) || before.contains(secret) || after.contains(secret), "{clean}");
            }
        }
    }
}
