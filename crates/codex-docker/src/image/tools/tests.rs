//! Tests for the versions of tools and for the lines that install them. `tests/it/image_tools.rs` runs the scripts.

use super::*;

fn tools(texts: &[&str]) -> Tools {
    texts.iter().map(|text| tool(text).expect("it is valid")).collect()
}

#[test]
fn a_version_is_a_number_or_a_channel_of_rust() {
    let check = |text: &str, expected: bool| assert_eq!(tool(text).is_ok(), expected, "{text}");
    for text in ["node=22", "node=v22.1.0", "nodejs=22.1", "python=3.12", "go=1.23.4", "golang=1", "java=21", "rust=1.85"] {
        check(text, true);
    }
    for text in ["rust=stable", "rust=nightly", "rust=nightly-2026-01-31", " node = 22 "] {
        check(text, true);
    }
    for text in ["node", "node=", "node=latest", "node=22;id", "node=22.", "node=.2", "node=1.2.3.4", "node=$(id)", "node='2'"] {
        check(text, false);
    }
    for text in ["java=lts", "rust=nightly-x", "rust=stable-2026-1-1", "go=stable", "ruby=3", "=1", "node=9999999999"] {
        check(text, false);
    }
    let java = |text: &str| tool(text).expect("valid").1.to_string();
    assert_eq!((java("java=21.0.1"), java("java=1.8")), ("21".to_owned(), "8".to_owned()));
    let unknown = tool("ruby=3").expect_err("unknown");
    assert!(unknown.code == ErrorCode::ToolUnknown && unknown.hints[0].contains("python, node"), "{unknown:?}");
}

#[test]
fn a_source_is_an_address_without_a_password() {
    let with = |text: &str| Sources::default().with([text]);
    assert_eq!(with("go=https://proxy.example/").expect("valid").url("go"), "https://proxy.example");
    assert_eq!(with("go=pypi+https://pypi.example/simple").expect("valid").url("go"), "pypi+https://pypi.example/simple");
    assert_eq!(with("node=npm+https://npm.example").expect("valid").url("node"), "npm+https://npm.example");
    for text in ["go=npm+https://x", "rust=pypi+https://x", "go=https://me:secret@x", "go=file:///x", "go=", "go=https://x'y z"] {
        assert_eq!(with(text).expect_err(text).code, ErrorCode::RegistryAddress, "{text}");
    }
    assert_eq!(with("ruby=https://x").expect_err("unknown").code, ErrorCode::ToolUnknown);
}

#[test]
fn the_lines_are_in_a_fixed_order_and_the_scripts_are_in_the_context() {
    let wanted = tools(&["rust=1.85", "node=22"]);
    let said = lines(&wanted, &Sources::default());
    insta::assert_snapshot!(said);
    assert_eq!(said, lines(&tools(&["node=22", "rust=1.85"]), &Sources::default()));
    let paths: Vec<_> = scripts(&wanted).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [".codex-docker/tools/common.sh", ".codex-docker/tools/node.sh", ".codex-docker/tools/rust.sh"]);
    assert_eq!((lines(&Tools::new(), &Sources::default()), scripts(&Tools::new())), (String::new(), vec![]));
    assert_eq!(described(&wanted), "node=22 rust=1.85");
}

#[test]
fn the_universal_image_has_every_tool_in_the_version_that_was_asked_for() {
    let all = universal(tools(&["go=1.23"]));
    assert_eq!(all.len(), Tool::ALL.len());
    assert_eq!((all[&Tool::Go].as_str(), all[&Tool::Rust].as_str()), ("1.23", "stable"));
    for tool in Tool::ALL {
        let version = tool.default_version();
        assert_eq!(ToolVersion::parse(tool, version.as_str()), Some(version), "{tool:?}");
    }
}
