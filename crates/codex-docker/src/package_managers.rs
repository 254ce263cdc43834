//! Variables that keep the stores and caches of package managers out of the worktree.
//!
//! Most package managers use the home directory anyway. pnpm does not: if the worktree is on another mount, it creates its store in
//! the worktree. Invariant: a variable of the caller always takes precedence.

/// The store of pnpm, below the home directory.
const PNPM_STORE: &str = ".local/share/pnpm/store";

/// The variables from which pnpm reads the path of its store: those of npm, and since version 11 its own.
const PNPM_STORE_VARIABLES: [&str; 2] = ["npm_config_store_dir", "pnpm_config_store_dir"];

/// Returns the variables for a container with this home directory.
pub(crate) fn variables(home: &str) -> impl Iterator<Item = (&'static str, String)> {
    PNPM_STORE_VARIABLES.into_iter().map(move |name| (name, format!("{home}/{PNPM_STORE}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_of_pnpm_is_in_the_home_directory() {
        let store = "/root/.local/share/pnpm/store".to_owned();
        let expect = [("npm_config_store_dir", store.clone()), ("pnpm_config_store_dir", store)];
        assert_eq!(variables("/root").collect::<Vec<_>>(), expect);
    }
}
