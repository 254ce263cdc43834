//! The report of a chaos test: counts of actions and results.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The name of the action that cuts the power.
pub(super) const CUT: &str = "cut the power";

/// The report of a chaos test.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// The seed of all random choices.
    pub seed: u64,
    /// The number of completed rounds, each of which ends with a check.
    pub rounds: u32,
    /// The number of times that each action was done.
    pub deeds: BTreeMap<&'static str, u32>,
    /// The number of runs with each outcome.
    pub runs: BTreeMap<String, u32>,
    /// The number of checked log lines.
    pub lines: u64,
    /// The number of acknowledged requests: prompts, stops, and archive changes.
    pub acknowledged: u32,
    /// The number of runs whose records were checked on the disk right after a power cut, before a server started.
    pub after_cuts: u32,
    /// The duration in seconds.
    pub seconds: f64,
    /// All violations of the invariants.
    pub violations: Vec<String>,
    /// The folder with a copy of the home, if there was a violation.
    pub kept: Option<PathBuf>,
}

impl Account {
    /// Counts an action.
    pub(super) fn did(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    /// Returns the number of power cuts.
    pub fn cuts(&self) -> u32 {
        self.deeds.get(CUT).copied().unwrap_or_default()
    }

    /// Returns the number of kills.
    pub fn kills(&self) -> u32 {
        self.deeds.iter().filter(|(deed, _)| deed.starts_with("kill")).map(|(_, times)| times).sum()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} kills in {} rounds, {:.0} s", self.seed, self.kills(), self.rounds, self.seconds)?;
        for (deed, times) in &self.deeds {
            writeln!(f, "  {times:>6}  {deed}")?;
        }
        if self.cuts() > 0 {
            writeln!(f, "{} power cuts; checked {} ended runs on the disk right after a cut", self.cuts(), self.after_cuts)?;
        }
        let runs: u32 = self.runs.values().sum();
        writeln!(f, "checked {runs} runs, {} lines of logs, {} acknowledgements", self.lines, self.acknowledged)?;
        for (status, times) in &self.runs {
            writeln!(f, "  {times:>6}  {status}")?;
        }
        if self.violations.is_empty() {
            return writeln!(f, "nothing was lost, done twice or left behind");
        }
        writeln!(f, "{} VIOLATIONS", self.violations.len())?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "the home is kept in {}", kept.display())?;
        }
        Ok(())
    }
}
