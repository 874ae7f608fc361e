//! Commands that look at contracts: which topics there are, and what their payloads look like.

pub(crate) mod check;
pub(crate) mod export;
pub(crate) mod show;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use nervebus::{Contract, Value};

/// The largest document that is read.
const LARGEST: u64 = 64 << 20;

/// What schemas say, in the drafts from 4 on; what begins with `$` is not among them.
const KEYWORDS: &str = "\
    additionalItems additionalProperties allOf anyOf const contains contentEncoding contentMediaType \
    contentSchema default definitions dependencies dependentRequired dependentSchemas deprecated description else \
    enum examples exclusiveMaximum exclusiveMinimum format if items maxContains maxItems maxLength maxProperties \
    maximum minContains minItems minLength minProperties minimum multipleOf not oneOf pattern patternProperties \
    prefixItems properties propertyNames readOnly required then title type unevaluatedItems unevaluatedProperties \
    uniqueItems writeOnly";

/// A document that is a contract, or a schema.
pub(crate) enum Document {
    Contract(Contract),
    Schema(Value),
}

/// Reads what a file has; `-` is standard input. The error names the file.
pub(crate) fn read(file: &OsStr) -> Result<Document, String> {
    let name = name_of(file);
    let text = text_of(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    let value: Value = text.parse().map_err(|error| format!("{name} is no JSON: {error}"))?;
    if value.get("nervebus_contract").is_none() {
        return match is_schema(&value) {
            true => Ok(Document::Schema(value)),
            false => {
                Err(format!("{name} is no contract, which has a \"nervebus_contract\", and no JSON Schema either"))
            }
        };
    }
    Contract::from_json(&value).map(Document::Contract).map_err(|error| format!("{name} is no contract: {error}"))
}

/// Reads a contract.
pub(crate) fn read_contract(file: &OsStr) -> Result<Contract, String> {
    match read(file)? {
        Document::Contract(contract) => Ok(contract),
        Document::Schema(_) => {
            Err(format!("{} is no contract but a JSON Schema: it has no \"nervebus_contract\"", name_of(file)))
        }
    }
}

fn name_of(file: &OsStr) -> String {
    if file == OsStr::new("-") { "standard input".into() } else { format!("'{}'", file.to_string_lossy()) }
}

/// Whether it says anything that JSON Schema knows. Any object would do for a schema, but one without such a word is most
/// likely another file, and would be compatible with everything.
fn is_schema(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Object(fields) => {
            fields.is_empty()
                || fields.keys().any(|key| key.starts_with('$') || KEYWORDS.split(' ').any(|word| word == key))
        }
        _ => false,
    }
}

fn text_of(file: &OsStr) -> io::Result<String> {
    let mut text = String::new();
    if file == OsStr::new("-") {
        io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text)?;
    } else {
        #[expect(clippy::disallowed_methods, reason = "it is the file that the user named")]
        File::open(file)?.take(LARGEST + 1).read_to_string(&mut text)?;
    }
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
    }
    Ok(text)
}
