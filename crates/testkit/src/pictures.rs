//! Small images of every kind that prompts take, made by programs that people use, and how a request carries them.
//! They are whole: what a model is shown of them must be these bytes.

use model::image::{GivenImage, ImageBytes};
use scripted_model::ScriptedModel;
use serde_json::Value;

/// Eight by six points.
pub const PNG: &[u8] = include_bytes!("../fixtures/dot.png");
/// The same as JPEG.
pub const JPEG: &[u8] = include_bytes!("../fixtures/dot.jpg");
/// One point.
pub const GIF: &[u8] = include_bytes!("../fixtures/dot.gif");
/// The same as WebP.
pub const WEBP: &[u8] = include_bytes!("../fixtures/dot.webp");

/// An image as the API takes it.
pub fn given(name: &str, bytes: &[u8]) -> Value {
    let image = GivenImage { name: name.to_owned(), data: ImageBytes(bytes.to_vec()) };
    serde_json::to_value(image).expect("names and bytes have a form in JSON")
}

/// An image as a model is shown it.
pub fn data_url(kind: &str, bytes: &[u8]) -> String {
    let text = given("", bytes);
    format!("data:{kind};base64,{}", text["data"].as_str().expect("Base64 is text"))
}

/// The images of all messages in the last request that a model got.
///
/// # Panics
/// When it got none.
pub fn shown(model: &ScriptedModel) -> Vec<String> {
    let asked = model.requests().into_iter().rev().find(|request| request.method == "POST").expect("the model was asked");
    let messages = asked.body["input"].as_array().into_iter().flatten();
    let parts = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    let images = parts.filter(|part| part["type"] == "input_image");
    images.filter_map(|image| image["image_url"].as_str().map(str::to_owned)).collect()
}

/// A PNG of this length. What lies behind an image's end is nothing to whoever shows it.
pub fn png_of(length: usize) -> Vec<u8> {
    let mut bytes = PNG.to_vec();
    bytes.resize(length.max(PNG.len()), 0);
    bytes
}
