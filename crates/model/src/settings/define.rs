//! The macro that defines a group of settings.
//!
//! Each row defines a setting: the field of the record, the field of the request that changes it, and the row of the
//! table in [`crate::settings`]. The doc comment of a row is the help text in forms, on the command line, in the reference and in
//! the API description.

/// Defines a record, the request that changes it, and `SETTINGS`, the rows of the table for their fields.
///
/// A row is `field: stored type = requested type as schema => check, { what to show }`. The check turns a requested value into a stored
/// one, or returns a [`Problem`](crate::problem::Problem). The schema is a type that describes the accepted values in the `OpenAPI`
/// document, and `#[schema(…)]` adds to it. An unset setting has the `Default` of its stored type.
macro_rules! settings {
    (
        $(#[$record_attribute:meta])*
        pub struct $Record:ident;

        $(#[$edit_attribute:meta])*
        pub struct $Edit:ident { $($more:tt)* }

        $member:ident in $group:expr, or $refused:path;

        $(
            $(#[doc = $help:tt])+
            $(#[schema($($rule:tt)+)])?
            $field:ident: $stored:ty = $requested:ty as $schema:ty => $check:expr, { $($row:tt)* }
        )+
    ) => {
        $(#[$record_attribute])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(default)]
        pub struct $Record {
            $(
                $(#[doc = $help])+
                #[serde(skip_serializing_if = "crate::settings::Stored::is_omitted")]
                pub $field: $stored,
            )+
        }

        $(#[$edit_attribute])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $Edit {
            $(
                $(#[doc = $help])+
                #[serde(default, deserialize_with = "crate::settings::given", skip_serializing_if = "Option::is_none")]
                #[schema(value_type = Option<$schema>$(, $($rule)+)?)]
                pub $field: Option<Option<$requested>>,
            )+
            $($more)*
        }

        impl $Record {
            /// Checks and applies each requested value separately.
            fn with_each(mut self, edit: &$Edit) -> Result<Self, crate::problem::Problem> {
                $(
                    if let Some(requested) = &edit.$field {
                        let check: fn($requested) -> Result<$stored, crate::problem::Problem> = $check;
                        self.$field = requested.clone().map(check).transpose()?.unwrap_or_default();
                    }
                )+
                Ok(self)
            }
        }

        /// The rows of the table for this group.
        pub const SETTINGS: &[crate::settings::Row<$Record, $Edit>] = &[$(
            crate::settings::Row {
                description: crate::settings::Description {
                    $($row)*
                    ..crate::settings::Description {
                        key: stringify!($field),
                        flag: "",
                        group: $group,
                        label: "",
                        help: concat!($($help, "\n"),+),
                        default: "",
                        example: "",
                        input: crate::settings::Input::Number,
                        required: crate::settings::Required::No,
                        field: concat!(stringify!($member), ".", stringify!($field)),
                    }
                },
                current: |record| crate::settings::Stored::texts(&record.$field),
                change: |edit, key, texts| {
                    let requested = <$requested as crate::settings::Requested>::from_texts(key, texts, $refused)?;
                    let check: fn($requested) -> Result<$stored, crate::problem::Problem> = $check;
                    requested.clone().map(check).transpose()?;
                    edit.$field = Some(requested);
                    Ok(())
                },
            },
        )+];
    };
}

pub(crate) use settings;
