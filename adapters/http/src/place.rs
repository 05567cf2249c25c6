//! Where an agent is.

use std::{fmt, path::PathBuf};

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// It has no scheme that is known, or no host.
    #[error("{0:?} is no address: http://HOST:PORT, https://HOST:PORT or unix:///PATH")]
    Form(String),
    /// It holds a user or a password.
    #[error("the address holds a user or a password; a token belongs into a file")]
    Secret,
}

/// Where an agent is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Plain TCP, `HOST:PORT`.
    Tcp(String),
    /// TLS, `HOST:PORT`.
    Tls(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// Reads `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:///PATH`.
    pub fn parse(text: &str, usual_port: u16) -> Result<Self, AddressError> {
        let wrong = || AddressError::Form(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        if scheme == "unix" {
            let is_path = rest.starts_with('/') && rest.len() > 1;
            return if is_path { Ok(Self::Unix(rest.into())) } else { Err(wrong()) };
        }
        if rest.contains('@') {
            return Err(AddressError::Secret);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '#' | '?');
        if authority.is_empty() || authority.starts_with(':') || authority.contains(is_odd) {
            return Err(wrong());
        }
        let after_host = authority.rfind(']').unwrap_or(0);
        let port = authority.get(after_host..).and_then(|rest| rest.rsplit_once(':')).map(|(_, port)| port);
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(wrong());
        }
        let authority =
            if port.is_some() { authority.to_owned() } else { format!("{authority}:{usual_port}") };
        match scheme {
            "http" => Ok(Self::Tcp(authority)),
            "https" => Ok(Self::Tls(authority)),
            _ => Err(wrong()),
        }
    }

    /// What stands in the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        match self {
            Self::Tcp(authority) | Self::Tls(authority) => authority,
            Self::Unix(_) => "localhost",
        }
    }

    /// The host without port and brackets.
    pub(crate) fn host(&self) -> &str {
        let authority = self.authority();
        authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']'])
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Tls(authority) => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, is) in [
            ("http://127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("http://consul/", "http://consul:8500"),
            ("https://[::1]", "https://[::1]:8500"),
            ("https://[::1]:1", "https://[::1]:1"),
            ("unix:///run/consul.sock", "unix:///run/consul.sock"),
        ] {
            assert_eq!(Place::parse(text, 8500).unwrap().to_string(), is);
        }
        assert_eq!(Place::parse("https://[::1]:1", 1).unwrap().host(), "::1");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "127.0.0.1:8500", "ftp://x", "http://", "http://:1", "http://a:b", "http://a/b", "unix://a"]
        {
            assert_eq!(Place::parse(text, 1), Err(AddressError::Form(text.to_owned())), "{text}");
        }
        assert_eq!(Place::parse("http://user:password@host", 1), Err(AddressError::Secret));
    }
}
