//! Decides which of this process's variables a child may see: only the listed ones.
//!
//! The values are captured once, when the configuration is read, and passed in. This module never reads the process's own
//! environment. Variables that lead to credentials are only passed to programs that ask for them (git), never to a worker.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Variables that every program may see: where programs are, who the user is, where temporary files go, and how to reach the
/// network.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Variables that only git may see: the user's own git configuration, and what credential helpers and ssh need.
const CREDENTIALS: &[&str] = &[
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "KRB5CCNAME",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "GH_TOKEN",
    "GH_CONFIG_DIR",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_SSL_NO_VERIFY",
];

/// The variables that children may get, as captured with the configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BaseEnvironment {
    variables: BTreeMap<OsString, OsString>,
}

impl BaseEnvironment {
    /// Keeps the listed names of `variables` and drops the rest.
    pub fn pick(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let listed = |name: &OsStr| COMMON.iter().chain(CREDENTIALS).any(|listed| name == OsStr::new(listed));
        Self { variables: variables.into_iter().filter(|(name, _)| listed(name)).collect() }
    }

    /// Returns this environment with one more variable of any name.
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Returns the value of a kept variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns the variables that every program may see.
    pub fn common(&self) -> BTreeMap<OsString, OsString> {
        let credentials = |name: &OsStr| CREDENTIALS.iter().any(|listed| name == OsStr::new(listed));
        self.variables.iter().filter(|(name, _)| !credentials(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Returns the variables that git may see, including those that lead to the user's credentials.
    pub fn with_credentials(&self) -> BTreeMap<OsString, OsString> {
        self.variables.clone()
    }
}

/// Prints only names, because the URL of a proxy may contain a password.
impl std::fmt::Debug for BaseEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BaseEnvironment {
        BaseEnvironment::pick(pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    #[test]
    fn what_is_not_listed_stays_out() {
        let base = environment(&[("PATH", "/bin"), ("AWS_SECRET_ACCESS_KEY", "x"), ("GIT_DIR", "/evil"), ("LD_PRELOAD", "x.so")]);
        assert_eq!(base.with_credentials().keys().collect::<Vec<_>>(), ["PATH"]);
    }

    #[test]
    fn the_way_to_credentials_is_for_git_alone() {
        let base = environment(&[("HOME", "/home/me"), ("SSH_AUTH_SOCK", "/run/agent"), ("GH_TOKEN", "t")]);
        assert_eq!(base.common().keys().collect::<Vec<_>>(), ["HOME"]);
        assert_eq!(base.with_credentials().len(), 3);
    }

    #[test]
    fn a_variable_may_be_added_by_name() {
        let base = environment(&[]).with("ORCH_MARK", "1");
        assert_eq!(base.get("ORCH_MARK"), Some(OsStr::new("1")));
        assert!(base.common().contains_key(OsStr::new("ORCH_MARK")));
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", environment(&[("https_proxy", "http://me:hunter2@proxy")]));
        assert!(shown.contains("https_proxy") && !shown.contains("hunter2"), "{shown}");
    }
}
