//! What stands behind `--adapter KIND=`: a place, and options as in the query of a URL.

use std::{error::Error, path::PathBuf, time::Duration};

/// Why a flag is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The place makes no sense.
    #[error(transparent)]
    Address(Box<dyn Error + Send + Sync>),
    /// The place holds a user or a password. It is not repeated: it may end in a log.
    #[error("the address holds a user or a password; they belong into a file")]
    Secret,
    /// There is no such option.
    #[error("there is no option {option:?}; these are: {known}")]
    Unknown {
        /// What was given.
        option: String,
        /// Those that there are.
        known: String,
    },
    /// An option stands there twice.
    #[error("option {option:?} is given twice")]
    Twice {
        /// Which.
        option: String,
    },
    /// A percent sign that two hexadecimal digits of UTF-8 do not follow.
    #[error("{0:?} is not percent-encoded text")]
    Encoding(String),
    /// An option's value makes no sense.
    #[error("{option}={value:?}: {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ConfigError {
    /// That a value makes no sense.
    pub fn value(option: &'static str, value: impl Into<String>, why: &'static str) -> Self {
        Self::Value { option, value: value.into(), why }
    }
}

/// A flag `PLACE[?option=value&…]`. Options are taken one by one; [`Flag::finish`] refuses what nobody took, and
/// names what there is to take.
#[derive(Debug)]
pub struct Flag<'a> {
    /// What stands before the question mark, as it is.
    pub place: &'a str,
    given: Vec<(&'a str, String)>,
    known: Vec<&'static str>,
}

impl<'a> Flag<'a> {
    /// Takes a flag apart.
    pub fn parse(text: &'a str) -> Result<Self, ConfigError> {
        let (place, options) = text.split_once('?').unwrap_or((text, ""));
        let mut flag = Self { place, given: Vec::new(), known: Vec::new() };
        for pair in options.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            if flag.given.iter().any(|(given, _)| *given == option) {
                return Err(ConfigError::Twice { option: option.to_owned() });
            }
            flag.given.push((option, decoded(value)?));
        }
        Ok(flag)
    }

    /// The value of an option, whatever it is.
    pub fn any(&mut self, option: &'static str) -> Option<String> {
        self.known.push(option);
        let at = self.given.iter().position(|(given, _)| *given == option)?;
        Some(self.given.remove(at).1)
    }

    /// A value that is not empty.
    pub fn text(&mut self, option: &'static str) -> Result<Option<String>, ConfigError> {
        self.checked(option, "it is empty", |value| !value.is_empty())
    }

    /// A path.
    pub fn path(&mut self, option: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(option)?.map(PathBuf::from))
    }

    /// A word without spaces and slashes.
    pub fn name(&mut self, option: &'static str) -> Result<Option<String>, ConfigError> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        self.checked(option, "no name", |value| !value.is_empty() && !value.contains(is_odd))
    }

    /// A number from 1 to 65535.
    pub fn number(&mut self, option: &'static str) -> Result<Option<u16>, ConfigError> {
        let Some(value) = self.any(option) else { return Ok(None) };
        match value.parse() {
            Ok(number) if number != 0 => Ok(Some(number)),
            Ok(_) | Err(_) => Err(ConfigError::value(option, value, "not a number from 1 to 65535")),
        }
    }

    /// Seconds, 0.1 at least.
    pub fn seconds(&mut self, option: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.any(option) else { return Ok(None) };
        let parsed: Option<f64> = value.trim_end_matches('s').parse().ok();
        let duration = parsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let duration = duration.filter(|duration| *duration >= Duration::from_millis(100));
        let wrong = || ConfigError::value(option, value, "it is no number of seconds, or less than 0.1");
        duration.ok_or_else(wrong).map(Some)
    }

    /// How hosts of services are made, from `host`, else from the mesh's domain.
    pub fn host_template(&mut self, domain: &str) -> Result<String, ConfigError> {
        let why = "without {name} all services would be one";
        let given = self.checked("host", why, |value| value.contains("{name}"))?;
        Ok(given.unwrap_or_else(|| format!("{{name}}.{{namespace}}.svc.{domain}")))
    }

    /// `cert-file` and `key-file`: both or neither.
    pub fn identity(&mut self) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        match (self.path("cert-file")?, self.path("key-file")?) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(ConfigError::value(
                "cert-file",
                "",
                "a certificate needs its key, and the other way round",
            )),
        }
    }

    /// All options that there are were taken: what is left is a mistake.
    pub fn finish(self) -> Result<(), ConfigError> {
        match self.given.first() {
            None => Ok(()),
            Some((option, _)) => {
                Err(ConfigError::Unknown { option: (*option).to_owned(), known: self.known.join(", ") })
            }
        }
    }

    fn checked(
        &mut self,
        option: &'static str,
        why: &'static str,
        is_right: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, ConfigError> {
        match self.any(option) {
            Some(value) if !is_right(&value) => Err(ConfigError::value(option, value, why)),
            value => Ok(value),
        }
    }
}

/// Percent-decoded.
pub fn decoded(text: &str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::Encoding(text.to_owned());
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
            let [high, low] = digits.map(nibble);
            bytes.push(high.ok_or_else(wrong)? << 4 | low.ok_or_else(wrong)?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_one_by_one_and_none_is_left() {
        let mut flag = Flag::parse("http://x?port=80&host=%7Bname%7D.x&wait=0.5s&empty=&").unwrap();
        assert_eq!(flag.place, "http://x");
        assert_eq!((flag.number("port").unwrap(), flag.number("other").unwrap()), (Some(80), None));
        assert_eq!(flag.host_template("y").unwrap(), "{name}.x");
        assert_eq!(flag.seconds("wait").unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(flag.any("empty").as_deref(), Some(""));
        flag.finish().unwrap();
        assert_eq!(Flag::parse("").unwrap().host_template("y").unwrap(), "{name}.{namespace}.svc.y");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut flag = Flag::parse("x?prot=1").unwrap();
        flag.number("port").unwrap();
        flag.name("name").unwrap();
        let message = flag.finish().unwrap_err().to_string();
        assert_eq!(message, "there is no option \"prot\"; these are: port, name");
        assert!(matches!(Flag::parse("x?a=1&a=1"), Err(ConfigError::Twice { .. })));
        for bad in ["%", "%4", "%+1", "%zz", "%ff"] {
            assert!(matches!(decoded(bad), Err(ConfigError::Encoding(_))), "{bad}");
        }
        let flag = || Flag::parse("x?a=&b=0&c=0.01&host=x&cert-file=y&d=a%20b").unwrap();
        assert!(flag().text("a").is_err());
        assert!(flag().number("b").is_err() && flag().seconds("c").is_err());
        assert!(
            flag().host_template("y").is_err() && flag().identity().is_err() && flag().name("d").is_err()
        );
    }
}
