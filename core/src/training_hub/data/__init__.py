"""Datasets: read a file, recognise its format, check every row, and make the same tokens of it for every backend."""

from training_hub.data.check import DatasetSummary, check_dataset
from training_hub.data.encode import Encoded, Encoder, blocks, document_tokens, encode
from training_hub.data.examples import Conversation, Document, Example, Processed, PromptCompletion
from training_hub.data.files import Place, Row, dataset_file, read_rows
from training_hub.data.formats import convert, detect
from training_hub.data.options import FORMATS, DatasetOptions, RowError
from training_hub.data.prepare import Prepared, Report, Rows, prepare, validation_rows
from training_hub.data.problems import BadRowsError
from training_hub.data.processed import write_processed
from training_hub.data.row_format import EncodedRow, FormatChoice, RowFormat
from training_hub.data.tokenizer import Tokenizer

__all__ = [
    "FORMATS",
    "BadRowsError",
    "Conversation",
    "DatasetOptions",
    "DatasetSummary",
    "Document",
    "Encoded",
    "EncodedRow",
    "Encoder",
    "Example",
    "FormatChoice",
    "Place",
    "Prepared",
    "Processed",
    "PromptCompletion",
    "Report",
    "Row",
    "RowError",
    "RowFormat",
    "Rows",
    "Tokenizer",
    "blocks",
    "check_dataset",
    "convert",
    "dataset_file",
    "detect",
    "document_tokens",
    "encode",
    "prepare",
    "read_rows",
    "validation_rows",
    "write_processed",
]
