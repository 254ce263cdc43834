//! Reads the files of Java projects: `pom.xml` of Maven, and the build scripts of Gradle.
//!
//! The scripts of a project's own wrapper are preferred, because they choose the version of the build tool.

use super::files::Files;
use super::sketch::Sketch;

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    maven(files).or_else(|| gradle(files))
}

fn maven(files: Files<'_>) -> Option<Sketch> {
    let whole = files.whole("pom.xml")?;
    let mut sketch = Sketch::new("pom.xml");
    let program = if files.has("mvnw") { "./mvnw" } else { "mvn" };
    // Surefire downloads what it needs to run tests only when it runs some.
    sketch.command(&format!("{program} -B -ntp -Dmaven.test.failure.ignore=true test"));
    sketch.key("pom.xml");
    sketch.keep("target");
    // The modules of a project are listed as `<module>name</module>`.
    let modules = whole.split("<module>").skip(1).filter_map(|rest| rest.split("</module>").next());
    for module in modules.take(100) {
        sketch.keep(&format!("{}/target", module.trim()));
    }
    sketch.cache("~/.m2/repository");
    if files.has("mvnw") {
        sketch.cache("~/.m2/wrapper");
    }
    Some(sketch)
}

fn gradle(files: Files<'_>) -> Option<Sketch> {
    let scripts = ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];
    let existing: Vec<&str> = scripts.into_iter().filter(|path| files.has(path)).collect();
    let mut sketch = Sketch::new(existing.first()?);
    let program = if files.has("gradlew") { "./gradlew" } else { "gradle" };
    sketch.command(&format!("{program} --no-daemon testClasses"));
    let wrapper = "gradle/wrapper/gradle-wrapper.properties";
    sketch.add_keys(existing.into_iter().chain([wrapper]).filter(|path| files.has(path)));
    sketch.add_keep([".gradle", "build"]);
    sketch.add_cache(["~/.gradle/caches", "~/.gradle/wrapper"]);
    sketch.note("Gradle downloads what only running tests needs when the tests run for the first time.");
    if files.text("settings.gradle").or_else(|| files.text("settings.gradle.kts")).is_some_and(|text| text.contains("include")) {
        sketch.note("If subprojects have their own `build` folders, add them to `[keep]`.");
    }
    Some(sketch)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::setup::KeepPath;

    use super::*;

    fn sketch(files: &[(&str, &str)]) -> Option<Sketch> {
        let texts: BTreeMap<String, String> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        read(Files::new(&texts))
    }

    #[test]
    fn maven_runs_the_tests_once() {
        let found = sketch(&[("pom.xml", "<modules><module>a</module>\n<module> b </module><module>../c</module></modules>")]);
        let found = found.expect("a Maven project");
        assert_eq!(found.commands, ["mvn -B -ntp -Dmaven.test.failure.ignore=true test"]);
        assert_eq!(found.keep.iter().map(KeepPath::as_str).collect::<Vec<_>>(), ["a/target", "b/target", "target"]);
    }

    #[test]
    fn the_wrapper_of_a_project_is_preferred() {
        let commands = |files: &[(&str, &str)]| sketch(files).map(|sketch| sketch.commands).unwrap_or_default();
        assert_eq!(commands(&[("pom.xml", ""), ("mvnw", "")]), ["./mvnw -B -ntp -Dmaven.test.failure.ignore=true test"]);
        assert_eq!(commands(&[("build.gradle.kts", ""), ("gradlew", "")]), ["./gradlew --no-daemon testClasses"]);
        assert_eq!(commands(&[("settings.gradle", "include 'a'")]), ["gradle --no-daemon testClasses"]);
        assert_eq!(commands(&[("gradlew", "")]), [""; 0]);
    }
}
