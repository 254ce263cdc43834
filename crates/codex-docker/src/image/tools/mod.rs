//! The layer with language tools: turns versions into lines of a Dockerfile, and the scripts that they run.
//!
//! Pure. Every version is checked before it becomes part of a line. Invariant: the same versions and sources always result in the same
//! lines, so that the builder's cache is used. Each tool has its own layer, in a fixed order.

use std::collections::BTreeMap;
use std::fmt;

use super::registry::check_address;
use crate::failure::Failure;
use model::ErrorCode;

/// The functions that all scripts share.
const COMMON: &str = include_str!("common.sh");

/// The folder with the scripts in a build context.
const FOLDER: &str = ".codex-docker/tools";

/// The folder with the scripts while an image is built.
const FOLDER_INSIDE: &str = "/opt/codex-docker-tools";

/// A language, whose tools an image can contain. The order is that of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Python with pip, uv and Poetry.
    Python,
    /// Node.js with npm, Yarn and pnpm.
    Node,
    /// Java with Maven and Gradle.
    Java,
    /// Go.
    Go,
    /// Rust with Cargo, Clippy and rustfmt.
    Rust,
}

impl Tool {
    /// All tools, in the order of their layers.
    pub const ALL: [Self; 5] = [Self::Python, Self::Node, Self::Java, Self::Go, Self::Rust];

    /// Returns the name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Java => "java",
            Self::Go => "go",
            Self::Rust => "rust",
        }
    }

    /// Parses a name. Other common names are accepted.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "nodejs" => Some(Self::Node),
            "golang" => Some(Self::Go),
            name => Self::ALL.into_iter().find(|tool| tool.name() == name),
        }
    }

    /// Returns the version that the image `universal` contains if no other one is asked for.
    pub fn default_version(self) -> ToolVersion {
        let version = match self {
            Self::Python => "3",
            Self::Node => "24",
            Self::Java => "17",
            Self::Go => "1",
            Self::Rust => "stable",
        };
        ToolVersion(version.to_owned())
    }

    fn script(self) -> &'static str {
        match self {
            Self::Python => include_str!("python.sh"),
            Self::Node => include_str!("node.sh"),
            Self::Java => include_str!("java.sh"),
            Self::Go => include_str!("go.sh"),
            Self::Rust => include_str!("rust.sh"),
        }
    }

    /// Returns the variables of the layer, for the programs that this tool installs later.
    fn environment(self) -> Option<&'static str> {
        match self {
            Self::Python => Some("PATH=/opt/python/current/bin:$PATH"),
            Self::Node => None,
            Self::Java => Some("JAVA_HOME=/opt/java"),
            Self::Go => Some("PATH=/root/go/bin:$PATH"),
            Self::Rust => Some("RUSTUP_HOME=/usr/local/rustup PATH=/root/.cargo/bin:$PATH"),
        }
    }
}

/// The version of a tool, such as `22`, `3.12.1`, or `stable` for Rust. A part of a version stands for the newest one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolVersion(String);

impl ToolVersion {
    /// Parses the version of a tool. Of a version of Java, only the first number counts, because newer builds replace older ones.
    pub fn parse(tool: Tool, text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let is_number = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = text.split('.').collect();
        let is_numbers = parts.len() <= 3 && parts.iter().all(|part| is_number(part));
        let known = match tool {
            Tool::Java => parts.iter().copied().find(|part| *part != "1").filter(|_| is_numbers),
            Tool::Rust => (is_numbers || is_channel(text)).then_some(text),
            Tool::Python | Tool::Node | Tool::Go => is_numbers.then_some(text),
        };
        known.map(|text| Self(text.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the text is a channel of Rust: `stable`, `beta`, `nightly` or `nightly-2026-01-31`.
fn is_channel(text: &str) -> bool {
    let (channel, date) = text.split_once('-').map_or((text, None), |(channel, date)| (channel, Some(date)));
    let is_date = |date: &str| {
        let parts: Vec<usize> = date.split('-').map(|part| part.bytes().filter(u8::is_ascii_digit).count()).collect();
        parts == [4, 2, 2] && date.len() == 10
    };
    matches!(channel, "stable" | "beta" | "nightly") && date.is_none_or(is_date)
}

/// The versions of tools in an image.
pub type Tools = BTreeMap<Tool, ToolVersion>;

/// Returns these versions, and the default versions of all other tools.
pub fn universal(mut tools: Tools) -> Tools {
    for tool in Tool::ALL {
        tools.entry(tool).or_insert_with(|| tool.default_version());
    }
    tools
}

/// Parses `node=22`.
pub(super) fn tool(text: &str) -> Result<(Tool, ToolVersion), Failure> {
    let (name, version) = text.split_once('=').unwrap_or((text, ""));
    let Some(tool) = Tool::parse(name.trim()) else {
        let known = Tool::ALL.map(Tool::name).join(", ");
        return Err(Failure::new(ErrorCode::ToolUnknown, format!("unknown tool `{name}`")).hint(format!("use one of: {known}")));
    };
    let found = ToolVersion::parse(tool, version.trim()).ok_or_else(|| {
        Failure::new(ErrorCode::ToolUnknown, format!("invalid version `{version}` of `{}`", tool.name())).hint(format!(
            "use a form like {}={}",
            tool.name(),
            tool.default_version()
        ))
    })?;
    Ok((tool, found))
}

/// Where tools are downloaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    urls: BTreeMap<&'static str, String>,
}

/// The name of each source, and its default.
const SOURCES: [(&str, &str); 7] = [
    ("node", "https://nodejs.org/dist"),
    ("python", ""),
    ("go", "https://proxy.golang.org"),
    ("rust", "https://static.rust-lang.org"),
    ("java", "https://api.adoptium.net"),
    ("maven", "https://repo.maven.apache.org/maven2"),
    ("gradle", "https://services.gradle.org"),
];

impl Default for Sources {
    fn default() -> Self {
        Self { urls: SOURCES.map(|(name, url)| (name, url.to_owned())).into() }
    }
}

impl Sources {
    /// Replaces the sources that these texts name, such as `go=https://goproxy.example` or `node=npm+https://npm.example`.
    pub fn with<'a>(mut self, texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Failure> {
        for text in texts {
            let (name, url) = text.split_once('=').unwrap_or((text, ""));
            let known = SOURCES.iter().find(|(known, _)| *known == name);
            let Some((name, _)) = known else {
                let names = SOURCES.map(|(name, _)| name).join(", ");
                return Err(Failure::new(ErrorCode::ToolUnknown, format!("unknown source `{name}`"))
                    .hint(format!("use a form like go=https://goproxy.example; the names are {names}")));
            };
            let scheme = match *name {
                "node" => "npm+",
                "go" => "pypi+",
                _ => "",
            };
            let url = url.trim_end_matches('/');
            // The address becomes part of a line of a Dockerfile.
            let address = url.strip_prefix(scheme).unwrap_or(url).replace(['\'', '\\', '$', '"'], " ");
            check_address(&address)?;
            self.urls.insert(name, url.to_owned());
        }
        Ok(self)
    }

    fn url(&self, name: &str) -> &str {
        self.urls.get(name).map_or("", String::as_str)
    }
}

/// Returns the lines of a Dockerfile that install these tools on the image before them, which must be based on ours.
pub fn lines(tools: &Tools, sources: &Sources) -> String {
    if tools.is_empty() {
        return String::new();
    }
    let each = tools.iter().flat_map(|(tool, version)| layer(*tool, version, sources));
    std::iter::once("USER root".to_owned()).chain(each).map(|line| line + "\n").collect()
}

/// Returns the lines of a tool's layer.
fn layer(tool: Tool, version: &ToolVersion, sources: &Sources) -> Vec<String> {
    let name = tool.name();
    let (argument, more) = match tool {
        Tool::Node => (Some("ARG NPM_REGISTRY"), " \"$NPM_REGISTRY\"".to_owned()),
        Tool::Python => (Some("ARG PYPI_INDEX"), " \"$PYPI_INDEX\"".to_owned()),
        Tool::Java => (None, format!(" '{}' '{}'", sources.url("maven"), sources.url("gradle"))),
        Tool::Go | Tool::Rust => (None, String::new()),
    };
    let copy = format!("COPY {FOLDER}/common.sh {FOLDER}/{name}.sh {FOLDER_INSIDE}/");
    let script = format!("sh {FOLDER_INSIDE}/{name}.sh {version} '{}'{more}", sources.url(name));
    let run = format!("RUN {script} && rm -rf {FOLDER_INSIDE} /root/.cache");
    let environment = tool.environment().map(|variables| format!("ENV {variables}"));
    [Some(copy), argument.map(str::to_owned), Some(run), environment].into_iter().flatten().collect()
}

/// Returns the scripts that [`lines`] copies, by their path in the build context.
pub(super) fn scripts(tools: &Tools) -> Vec<(String, &'static str)> {
    if tools.is_empty() {
        return vec![];
    }
    let each = tools.keys().map(|tool| (format!("{FOLDER}/{}.sh", tool.name()), tool.script()));
    [(format!("{FOLDER}/common.sh"), COMMON)].into_iter().chain(each).collect()
}

/// Returns the versions as text, for a label.
pub(super) fn described(tools: &Tools) -> String {
    tools.iter().map(|(tool, version)| format!("{}={version}", tool.name())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
