//! What a storm did and what came of it, on one page.
//! It only counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What a power cut is called among the deeds.
pub(super) const CUT: &str = "cut the power";

/// The account of a storm.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// What everything was drawn from.
    pub seed: u64,
    /// How often all was calm and looked at.
    pub rounds: u32,
    /// What was done, and how often.
    pub deeds: BTreeMap<&'static str, u32>,
    /// How the runs ended.
    pub runs: BTreeMap<String, u32>,
    /// Lines of logs that were looked at.
    pub lines: u64,
    /// What was acknowledged: prompts, stops, and what went into the archive or out of it.
    pub acknowledged: u32,
    /// Runs whose records were checked on the disk right after a power cut, before a server started.
    pub after_cuts: u32,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What is wrong.
    pub violations: Vec<String>,
    /// Where the home is that has something wrong.
    pub kept: Option<PathBuf>,
}

impl Account {
    /// Counts a deed.
    pub(super) fn did(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    /// How often the power was cut.
    pub fn cuts(&self) -> u32 {
        self.deeds.get(CUT).copied().unwrap_or_default()
    }

    /// How often something was killed.
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
            writeln!(f, "{} power cuts; {} ended runs checked on the disk right after one", self.cuts(), self.after_cuts)?;
        }
        let runs: u32 = self.runs.values().sum();
        writeln!(f, "{runs} runs, {} lines of logs, {} acknowledgements looked at", self.lines, self.acknowledged)?;
        for (status, times) in &self.runs {
            writeln!(f, "  {times:>6}  {status}")?;
        }
        if self.violations.is_empty() {
            return writeln!(f, "nothing lost, nothing twice, nobody left");
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
