//! The flags of `env add` and `env edit`, derived from the table in [`protocol::settings`].
//! Values are kept as text; `commands/env_values` turns them into a request.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use protocol::settings::{self, Group, Input, Setting};

/// The settings that were given as flags, with their values.
#[derive(Debug, Default, Clone)]
pub(crate) struct SettingArguments(pub(crate) Vec<(&'static Setting, Vec<String>)>);

fn settings() -> impl Iterator<Item = &'static Setting> {
    settings::all().filter(|setting| setting.input != Input::Secret)
}

fn argument(setting: &'static Setting) -> Arg {
    let mut help = setting.summary();
    let mut notes = vec![];
    if !setting.choices().is_empty() {
        let values: Vec<_> = setting.choices().iter().map(|choice| choice.value).collect();
        notes.push(format!("[possible values: {}]", values.join(", ")));
    }
    notes.push(format!("[default: {}]", setting.default.replace('`', "")));
    if setting.input.is_list() {
        help.push_str("; repeat the flag for several");
    }
    let notes = notes.join(" ");
    let details = [help.clone() + ".", setting.details()].join(" ");
    let argument = Arg::new(setting.key)
        .long(setting.flag)
        .value_name(setting.input.value_name())
        .action(if setting.input.is_list() { ArgAction::Append } else { ArgAction::Set })
        .help(format!("{help} {notes}"));
    let argument =
        if setting.details().is_empty() { argument } else { argument.long_help(format!("{} {notes}", details.trim())) };
    if setting.group == Group::General { argument } else { argument.help_heading(setting.group.title()) }
}

impl Args for SettingArguments {
    fn augment_args(command: Command) -> Command {
        command.args(settings().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            let values = matches.get_many::<String>(setting.key)?;
            Some((setting, values.cloned().collect()))
        };
        Ok(Self(settings().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
