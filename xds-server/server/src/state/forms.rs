//! Parts of resources at the form that clients go on with while they reject newer ones.

use bytes::Bytes;
use lateen_compile::{GoodForm, PartName};
use lateen_xds::ResourceType;
use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};

/// By URL of the type, name of the resource and of the part.
const FORMS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("forms");

/// What is to be written of each part: its form, or that there is none any more.
pub(super) type Forms = std::collections::BTreeMap<PartName, Option<GoodForm>>;

#[derive(Message)]
struct Record {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
    #[prost(message, repeated, tag = "2")]
    names: Vec<Named>,
}

#[derive(Message)]
struct Named {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(string, tag = "2")]
    name: String,
}

fn encode(form: &GoodForm) -> Vec<u8> {
    let reference = |(kind, name): &(ResourceType, std::sync::Arc<str>)| Named {
        url: kind.info().url.to_owned(),
        name: name.to_string(),
    };
    let names = form.names.iter().map(reference).collect();
    Record { bytes: form.bytes.clone(), names }.encode_to_vec()
}

fn decode(record: &[u8]) -> Option<GoodForm> {
    let Record { bytes, names } = Record::decode(record).ok()?;
    let names = names.into_iter().map(|named| Some((ResourceType::from_url(&named.url)?, named.name.into())));
    Some(GoodForm { bytes, names: names.collect::<Option<_>>()? })
}

/// Everything that is kept. Nothing where it can't be read: then what is rejected again is closed.
pub(super) fn load(database: &Database) -> Vec<(PartName, GoodForm)> {
    let read = || -> Result<Vec<_>, redb::Error> {
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(FORMS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut all = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            let (url, name, part) = key.value();
            if let (Some(kind), Some(form)) = (ResourceType::from_url(url), decode(value.value())) {
                all.push(((kind, name.into(), part.into()), form));
            }
        }
        Ok(all)
    };
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "what clients went on with before can't be read");
        Vec::new()
    })
}

/// Writes them.
pub(super) fn write(transaction: &WriteTransaction, forms: &Forms) -> Result<(), redb::Error> {
    if forms.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(FORMS)?;
    for ((kind, name, part), form) in forms {
        let key = (kind.info().url, &**name, &**part);
        match form {
            Some(form) => drop(table.insert(key, encode(form).as_slice())?),
            None => drop(table.remove(key)?),
        }
    }
    Ok(())
}
