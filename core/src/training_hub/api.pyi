"""The functions that most people call, as editors and type checkers see them.

Made from the declarations by `nox -s docs`; not to be edited. The default `...` is one that follows from others, or
stands where Python asks for one: what must be given is said to be required.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, overload, type_check_only

from training_hub.algorithms.base import Algorithm
from training_hub.algorithms.lora_sft import LoRASFTAlgorithm
from training_hub.algorithms.osft import OSFTAlgorithm
from training_hub.algorithms.sft import FSDPOptions, SFTAlgorithm
from training_hub.callbacks.callback import TrainingHubCallback
from training_hub.store.result import TrainingResult

__all__ = ["create_algorithm", "lora_sft", "osft", "sft"]

def sft(
    model_path: str | PathLike[str],
    data_path: str | PathLike[str],
    ckpt_output_dir: str | PathLike[str],
    backend: str | None = None,
    num_epochs: int = 3,
    effective_batch_size: int = 16,
    learning_rate: float = 2e-05,
    max_seq_len: int = 2048,
    max_tokens_per_gpu: int = ...,
    data_output_dir: str | PathLike[str] | None = None,
    *,
    overwrite_output_dir: bool = False,
    trust_remote_code: bool = False,
    seed: int = 42,
    lr_scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "warmup_stable_decay",
    ] = "cosine",
    lr_scheduler_kwargs: dict[str, Any] | None = None,
    warmup_steps: int = 0,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    use_liger: bool = False,
    checkpoint_at_epoch: bool = False,
    save_final_checkpoint: bool = True,
    keep_last_checkpoint_only: bool = False,
    validation_split: float = 0.0,
    validation_frequency: int | None = None,
    save_best_val_loss: bool = False,
    val_loss_improvement_threshold: float = 0.0,
    is_pretraining: bool = False,
    block_size: int | None = None,
    document_column_name: str | None = None,
    nproc_per_node: int | Literal["auto", "gpu"] = 1,
    nnodes: int = 1,
    node_rank: int = 0,
    rdzv_id: str | int | None = None,
    rdzv_endpoint: str | None = None,
    master_addr: str | None = None,
    master_port: int | None = None,
    callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None = None,
    callback_errors: Literal["stop", "warn"] = "stop",
    resume: bool | str | PathLike[str] = False,
    resume_changes: list[str] | None = None,
    on_nan: Literal["stop", "warn"] = "stop",
    grace_seconds: float = 300.0,
    hang_seconds: float | None = None,
    save_samples: int = 0,
    accelerate_full_state_at_epoch: bool = True,
    fsdp_options: FSDPOptions | None = None,
    wandb_project: str | None = None,
    wandb_entity: str | None = None,
    wandb_run_name: str | None = None,
    tensorboard_log_dir: str | PathLike[str] | None = None,
    mlflow_tracking_uri: str | None = None,
    mlflow_experiment_name: str | None = None,
    mlflow_run_name: str | None = None,
    **backend_kwargs: Any,
) -> TrainingResult:
    """Supervised fine-tuning: every weight learns to continue the rows' prompts as their assistant turns do.

    Args:
        model_path: Directory of the model, or its id on the Hugging Face Hub. (a path that is not empty;
            required)
        data_path: Training rows: a JSONL, JSON or Parquet file. (a path that is not empty; required)
        ckpt_output_dir: Directory of the run: checkpoints, events, logs, manifest. (a path that is not empty;
            required)
        backend: Backend to train with; by default the first recommended one that is available here. (text;
            default None)
        overwrite_output_dir: Replace the run that ckpt_output_dir holds; without this it is refused. (true or
            false; default False)
        data_output_dir: Directory for processed data; by default `data` inside ckpt_output_dir. (a path that is
            not empty; default None)
        trust_remote_code: Run Python code that comes with the model. Only if you trust it. (true or false;
            default False)
        seed: Seed of data order, validation split and weight initialisation. (a whole number of at least 0 and
            less than 4294967296; default 42)
        num_epochs: Passes over the training rows. (a whole number of at least 1; default 3)
        effective_batch_size: Rows per optimizer step, over all processes and micro-batches; exact. (a whole
            number of at least 1; default 16)
        max_seq_len: Longest row in tokens; longer rows are left out, with a warning. (a whole number of at
            least 1; default 2048)
        max_tokens_per_gpu: Most tokens in one micro-batch of one process; bounds memory, never changes the
            result. (a whole number of at least 1; default the greater of 8192 and max_seq_len)
        learning_rate: Peak learning rate. (a number greater than 0 and at most 1; default 2e-05)
        lr_scheduler: Shape of the learning rate after warmup. ('linear', 'cosine', 'cosine_with_restarts',
            'cosine_with_min_lr', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt',
            'reduce_lr_on_plateau' or 'warmup_stable_decay'; default 'cosine')
        lr_scheduler_kwargs: Further arguments of the scheduler, such as num_cycles. (a mapping; default None)
        warmup_steps: Optimizer steps over which the learning rate rises from 0. (a whole number of at least 0;
            default 0)
        beta1: Decay of the first moment. (a number of at least 0 and less than 1; default 0.9)
        beta2: Decay of the second moment. (a number of at least 0 and less than 1; default 0.95)
        eps: Term added to the denominator. (a number greater than 0; default 1e-08)
        weight_decay: Decoupled weight decay. (a number of at least 0; default 0.0)
        max_grad_norm: Gradients are scaled down to this global norm; 0 means never. (a number of at least 0;
            default 1.0)
        use_liger: Use Liger's fused kernels (a GPU and liger-kernel are needed). (true or false; default False)
        checkpoint_at_epoch: Save a checkpoint at the end of each epoch. (true or false; default False)
        save_final_checkpoint: Save the model when training ends. (true or false; default True)
        keep_last_checkpoint_only: Delete a checkpoint once a newer one is complete. (true or false; default
            False)
        validation_split: Share of the rows held out to validate on; 0 means none. (a number of at least 0 and
            less than 1; default 0.0)
        validation_frequency: Validate every so many steps; by default once an epoch. (a whole number of at
            least 1; default None)
        save_best_val_loss: Keep a checkpoint of the lowest validation loss. (true or false; default False)
        val_loss_improvement_threshold: Least fall of the validation loss that counts as an improvement. (a
            number of at least 0; default 0.0)
        is_pretraining: Train on every token of documents instead of on conversations. (true or false; default
            False)
        block_size: Tokens in a block of documents; needed with is_pretraining. (a whole number of at least 2;
            default None)
        document_column_name: Key of a document in a row; by default text, or document. (text; default None)
        nproc_per_node: Processes on each node; gpu means one for each GPU, auto the same or one process without
            GPUs. (a whole number of at least 1 or 'auto' or 'gpu'; default 1)
        nnodes: Nodes of the run. (a whole number of at least 1; default 1)
        node_rank: Rank of this node, from 0. (a whole number of at least 0; default 0)
        rdzv_id: Id of the rendezvous, the same on every node. (text or a whole number; default None)
        rdzv_endpoint: HOST:PORT where the nodes meet. (text; default None)
        master_addr: Address of the node of rank 0, where rdzv_endpoint is not given. (text; default None)
        master_port: Port on the node of rank 0, where rdzv_endpoint is not given. (a whole number of at least 1
            and at most 65535; default None)
        callbacks: Objects whose methods are called as training goes on: in the caller's process, or on every
            rank where their class asks for that. (a list of TrainingHubCallback or TrainingHubCallback; default
            None)
        callback_errors: What a callback that raises does: stop the run with a checkpoint, or warn and go on.
            ('stop' or 'warn'; default 'stop')
        resume: Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it
            holds no run), or from a run or checkpoint elsewhere (its directory). (true or false or a path that
            is not empty; default False)
        resume_changes: With resume: what may differ from the run resumed, by name: parameters, or data, model,
            versions; any other difference is refused. (a list of text; default None)
        on_nan: What a loss that is NaN or infinite does: stop the run, or warn. ('stop' or 'warn'; default
            'stop')
        grace_seconds: How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its
            processes are ended. (a number greater than 0; default 300.0)
        hang_seconds: End a run from whose processes no event has come for so long once they train; None waits.
            (a number greater than 0; default None)
        save_samples: Save a checkpoint every so many rows; 0 means not by rows. (a whole number of at least 0;
            default 0)
        accelerate_full_state_at_epoch: With checkpoint_at_epoch, also save optimizer, scheduler and random
            state, to resume from. (true or false; default True)
        fsdp_options: How weights are sharded over GPUs: sharding_strategy, cpu_offload_params. (a mapping;
            default None)
        wandb_project: Weights & Biases project; turns that tracker on. (text; default None)
        wandb_entity: Weights & Biases team or user. (text; default None)
        wandb_run_name: Name of the run in Weights & Biases. (text; default None)
        tensorboard_log_dir: Directory of TensorBoard logs; turns that tracker on. (a path that is not empty;
            default None)
        mlflow_tracking_uri: MLflow tracking server, database or directory; turns that tracker on. (text;
            default None)
        mlflow_experiment_name: MLflow experiment. (text; default None)
        mlflow_run_name: Name of the run in MLflow. (text; default None)
        **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.

    Returns:
        A TrainingResult; from a backend that only writes execute_training, what that returned.

    Raises:
        UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
        TrainingFailedError: Training started and did not finish.
    """

def osft(
    model_path: str | PathLike[str],
    data_path: str | PathLike[str],
    unfreeze_rank_ratio: float,
    effective_batch_size: int = 16,
    max_tokens_per_gpu: int = ...,
    max_seq_len: int = 2048,
    learning_rate: float = 5e-06,
    ckpt_output_dir: str | PathLike[str] = ...,
    data_output_dir: str | PathLike[str] | None = None,
    backend: str | None = None,
    *,
    overwrite_output_dir: bool = False,
    trust_remote_code: bool = False,
    seed: int = 42,
    num_epochs: int = 3,
    lr_scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "warmup_stable_decay",
    ] = "cosine",
    lr_scheduler_kwargs: dict[str, Any] | None = None,
    warmup_steps: int = 0,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    use_liger: bool = False,
    checkpoint_at_epoch: bool = False,
    save_final_checkpoint: bool = True,
    keep_last_checkpoint_only: bool = False,
    validation_split: float = 0.0,
    validation_frequency: int | None = None,
    save_best_val_loss: bool = False,
    val_loss_improvement_threshold: float = 0.0,
    is_pretraining: bool = False,
    block_size: int | None = None,
    document_column_name: str | None = None,
    nproc_per_node: int | Literal["auto", "gpu"] = 1,
    nnodes: int = 1,
    node_rank: int = 0,
    rdzv_id: str | int | None = None,
    rdzv_endpoint: str | None = None,
    master_addr: str | None = None,
    master_port: int | None = None,
    callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None = None,
    callback_errors: Literal["stop", "warn"] = "stop",
    resume: bool | str | PathLike[str] = False,
    resume_changes: list[str] | None = None,
    on_nan: Literal["stop", "warn"] = "stop",
    grace_seconds: float = 300.0,
    hang_seconds: float | None = None,
    target_patterns: list[str] | None = None,
    min_protected_share: float = 0.5,
    use_processed_dataset: bool = False,
    unmask_messages: bool = False,
    osft_memory_efficient_init: bool = False,
    wandb_project: str | None = None,
    wandb_entity: str | None = None,
    wandb_run_name: str | None = None,
    tensorboard_log_dir: str | PathLike[str] | None = None,
    mlflow_tracking_uri: str | None = None,
    mlflow_experiment_name: str | None = None,
    mlflow_run_name: str | None = None,
    **backend_kwargs: Any,
) -> TrainingResult:
    """Orthogonal Subspace Fine-Tuning (arXiv:2504.07097): new knowledge goes where the weights hold the least.

    The top singular directions of each weight are kept; updates stay orthogonal to them.

    Args:
        model_path: Directory of the model, or its id on the Hugging Face Hub. (a path that is not empty;
            required)
        data_path: Training rows: a JSONL, JSON or Parquet file. (a path that is not empty; required)
        ckpt_output_dir: Directory of the run: checkpoints, events, logs, manifest. (a path that is not empty;
            required)
        backend: Backend to train with; by default the first recommended one that is available here. (text;
            default None)
        overwrite_output_dir: Replace the run that ckpt_output_dir holds; without this it is refused. (true or
            false; default False)
        data_output_dir: Directory for processed data; by default `data` inside ckpt_output_dir. (a path that is
            not empty; default None)
        trust_remote_code: Run Python code that comes with the model. Only if you trust it. (true or false;
            default False)
        seed: Seed of data order, validation split and weight initialisation. (a whole number of at least 0 and
            less than 4294967296; default 42)
        num_epochs: Passes over the training rows. (a whole number of at least 1; default 3)
        effective_batch_size: Rows per optimizer step, over all processes and micro-batches; exact. (a whole
            number of at least 1; default 16)
        max_seq_len: Longest row in tokens; longer rows are left out, with a warning. (a whole number of at
            least 1; default 2048)
        max_tokens_per_gpu: Most tokens in one micro-batch of one process; bounds memory, never changes the
            result. (a whole number of at least 1; default the greater of 8192 and max_seq_len)
        learning_rate: Peak learning rate. (a number greater than 0 and at most 1; default 5e-06)
        lr_scheduler: Shape of the learning rate after warmup. ('linear', 'cosine', 'cosine_with_restarts',
            'cosine_with_min_lr', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt',
            'reduce_lr_on_plateau' or 'warmup_stable_decay'; default 'cosine')
        lr_scheduler_kwargs: Further arguments of the scheduler, such as num_cycles. (a mapping; default None)
        warmup_steps: Optimizer steps over which the learning rate rises from 0. (a whole number of at least 0;
            default 0)
        beta1: Decay of the first moment. (a number of at least 0 and less than 1; default 0.9)
        beta2: Decay of the second moment. (a number of at least 0 and less than 1; default 0.95)
        eps: Term added to the denominator. (a number greater than 0; default 1e-08)
        weight_decay: Decoupled weight decay. (a number of at least 0; default 0.0)
        max_grad_norm: Gradients are scaled down to this global norm; 0 means never. (a number of at least 0;
            default 1.0)
        use_liger: Use Liger's fused kernels (a GPU and liger-kernel are needed). (true or false; default False)
        checkpoint_at_epoch: Save a checkpoint at the end of each epoch. (true or false; default False)
        save_final_checkpoint: Save the model when training ends. (true or false; default True)
        keep_last_checkpoint_only: Delete a checkpoint once a newer one is complete. (true or false; default
            False)
        validation_split: Share of the rows held out to validate on; 0 means none. (a number of at least 0 and
            less than 1; default 0.0)
        validation_frequency: Validate every so many steps; by default once an epoch. (a whole number of at
            least 1; default None)
        save_best_val_loss: Keep a checkpoint of the lowest validation loss. (true or false; default False)
        val_loss_improvement_threshold: Least fall of the validation loss that counts as an improvement. (a
            number of at least 0; default 0.0)
        is_pretraining: Train on every token of documents instead of on conversations. (true or false; default
            False)
        block_size: Tokens in a block of documents; needed with is_pretraining. (a whole number of at least 2;
            default None)
        document_column_name: Key of a document in a row; by default text, or document. (text; default None)
        nproc_per_node: Processes on each node; gpu means one for each GPU, auto the same or one process without
            GPUs. (a whole number of at least 1 or 'auto' or 'gpu'; default 1)
        nnodes: Nodes of the run. (a whole number of at least 1; default 1)
        node_rank: Rank of this node, from 0. (a whole number of at least 0; default 0)
        rdzv_id: Id of the rendezvous, the same on every node. (text or a whole number; default None)
        rdzv_endpoint: HOST:PORT where the nodes meet. (text; default None)
        master_addr: Address of the node of rank 0, where rdzv_endpoint is not given. (text; default None)
        master_port: Port on the node of rank 0, where rdzv_endpoint is not given. (a whole number of at least 1
            and at most 65535; default None)
        callbacks: Objects whose methods are called as training goes on: in the caller's process, or on every
            rank where their class asks for that. (a list of TrainingHubCallback or TrainingHubCallback; default
            None)
        callback_errors: What a callback that raises does: stop the run with a checkpoint, or warn and go on.
            ('stop' or 'warn'; default 'stop')
        resume: Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it
            holds no run), or from a run or checkpoint elsewhere (its directory). (true or false or a path that
            is not empty; default False)
        resume_changes: With resume: what may differ from the run resumed, by name: parameters, or data, model,
            versions; any other difference is refused. (a list of text; default None)
        on_nan: What a loss that is NaN or infinite does: stop the run, or warn. ('stop' or 'warn'; default
            'stop')
        grace_seconds: How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its
            processes are ended. (a number greater than 0; default 300.0)
        hang_seconds: End a run from whose processes no event has come for so long once they train; None waits.
            (a number greater than 0; default None)
        unfreeze_rank_ratio: Share of each weight's singular directions that may change, such as 0.25. (a number
            of at least 0 and at most 1; required)
        target_patterns: Parts of the names of the weights to decompose; by default all matrices of the layers.
            (a list of text; default None)
        min_protected_share: Least share of the weights of the model's layers that must be protected to begin; 0
            asks for none. (a number of at least 0 and at most 1; default 0.5)
        use_processed_dataset: The rows are tokens already: input_ids and labels. (true or false; default False)
        unmask_messages: Train on the turns of every role, not of the assistant alone. (true or false; default
            False)
        osft_memory_efficient_init: Decompose the weights with less memory at a time, where the backend can.
            (true or false; default False)
        wandb_project: Weights & Biases project; turns that tracker on. (text; default None)
        wandb_entity: Weights & Biases team or user. (text; default None)
        wandb_run_name: Name of the run in Weights & Biases. (text; default None)
        tensorboard_log_dir: Directory of TensorBoard logs; turns that tracker on. (a path that is not empty;
            default None)
        mlflow_tracking_uri: MLflow tracking server, database or directory; turns that tracker on. (text;
            default None)
        mlflow_experiment_name: MLflow experiment. (text; default None)
        mlflow_run_name: Name of the run in MLflow. (text; default None)
        **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.

    Returns:
        A TrainingResult; from a backend that only writes execute_training, what that returned.

    Raises:
        UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
        TrainingFailedError: Training started and did not finish.
    """

def lora_sft(
    model_path: str | PathLike[str],
    data_path: str | PathLike[str],
    ckpt_output_dir: str | PathLike[str],
    backend: str | None = None,
    lora_r: int = 16,
    lora_alpha: float = 32,
    lora_dropout: float = 0.0,
    target_modules: list[str] | str | None = None,
    num_epochs: int = 3,
    effective_batch_size: int = 16,
    *,
    overwrite_output_dir: bool = False,
    data_output_dir: str | PathLike[str] | None = None,
    trust_remote_code: bool = False,
    seed: int = 42,
    max_seq_len: int = 2048,
    max_tokens_per_gpu: int = ...,
    learning_rate: float = 0.0002,
    lr_scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "warmup_stable_decay",
    ] = "cosine",
    lr_scheduler_kwargs: dict[str, Any] | None = None,
    warmup_steps: int = 0,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    use_liger: bool = False,
    checkpoint_at_epoch: bool = False,
    save_final_checkpoint: bool = True,
    keep_last_checkpoint_only: bool = False,
    validation_split: float = 0.0,
    validation_frequency: int | None = None,
    save_best_val_loss: bool = False,
    val_loss_improvement_threshold: float = 0.0,
    is_pretraining: bool = False,
    block_size: int | None = None,
    document_column_name: str | None = None,
    nproc_per_node: int | Literal["auto", "gpu"] = 1,
    nnodes: int = 1,
    node_rank: int = 0,
    rdzv_id: str | int | None = None,
    rdzv_endpoint: str | None = None,
    master_addr: str | None = None,
    master_port: int | None = None,
    callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None = None,
    callback_errors: Literal["stop", "warn"] = "stop",
    resume: bool | str | PathLike[str] = False,
    resume_changes: list[str] | None = None,
    on_nan: Literal["stop", "warn"] = "stop",
    grace_seconds: float = 300.0,
    hang_seconds: float | None = None,
    use_rslora: bool = False,
    use_dora: bool = False,
    init_lora_weights: bool | str = True,
    rank_pattern: dict[str, int] | None = None,
    alpha_pattern: dict[str, float] | None = None,
    loftq_config: dict[str, Any] | None = None,
    load_in_4bit: bool = False,
    load_in_8bit: bool = False,
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4",
    bnb_4bit_compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
    bnb_4bit_use_double_quant: bool = True,
    micro_batch_size: int | None = None,
    gradient_accumulation_steps: int | None = None,
    flash_attention: bool | None = None,
    sample_packing: bool = False,
    bf16: bool | None = None,
    fp16: bool | None = None,
    tf32: bool | None = None,
    save_steps: int | None = None,
    eval_steps: int | None = None,
    logging_steps: int = 1,
    save_total_limit: int | None = None,
    save_model: bool = True,
    save_merged_model: bool = False,
    eval_data_path: str | PathLike[str] | None = None,
    per_device_eval_batch_size: int | None = None,
    dataset_type: Literal[
        "chat_template",
        "messages",
        "sharegpt",
        "alpaca",
        "prompt_completion",
        "passthrough",
    ]
    | None = None,
    field_messages: str | None = None,
    field_instruction: str | None = None,
    field_input: str | None = None,
    field_output: str | None = None,
    enable_model_splitting: bool = False,
    finetune_vision_layers: bool = False,
    finetune_language_layers: bool = True,
    wandb_project: str | None = None,
    wandb_entity: str | None = None,
    wandb_run_name: str | None = None,
    tensorboard_log_dir: str | PathLike[str] | None = None,
    mlflow_tracking_uri: str | None = None,
    mlflow_experiment_name: str | None = None,
    mlflow_run_name: str | None = None,
    **backend_kwargs: Any,
) -> TrainingResult:
    """Supervised fine-tuning of low-rank adapters (LoRA, arXiv:2106.09685; QLoRA, arXiv:2305.14314).

    Args:
        model_path: Directory of the model, or its id on the Hugging Face Hub. (a path that is not empty;
            required)
        data_path: Training rows: a JSONL, JSON or Parquet file. (a path that is not empty; required)
        ckpt_output_dir: Directory of the run: checkpoints, events, logs, manifest. (a path that is not empty;
            required)
        backend: Backend to train with; by default the first recommended one that is available here. (text;
            default None)
        overwrite_output_dir: Replace the run that ckpt_output_dir holds; without this it is refused. (true or
            false; default False)
        data_output_dir: Directory for processed data; by default `data` inside ckpt_output_dir. (a path that is
            not empty; default None)
        trust_remote_code: Run Python code that comes with the model. Only if you trust it. (true or false;
            default False)
        seed: Seed of data order, validation split and weight initialisation. (a whole number of at least 0 and
            less than 4294967296; default 42)
        num_epochs: Passes over the training rows. (a whole number of at least 1; default 3)
        effective_batch_size: Rows per optimizer step, over all processes and micro-batches; exact. (a whole
            number of at least 1; default 16)
        max_seq_len: Longest row in tokens; longer rows are left out, with a warning. (a whole number of at
            least 1; default 2048)
        max_tokens_per_gpu: Most tokens in one micro-batch of one process; bounds memory, never changes the
            result. (a whole number of at least 1; default the greater of 8192 and max_seq_len)
        learning_rate: Peak learning rate. (a number greater than 0 and at most 1; default 0.0002)
        lr_scheduler: Shape of the learning rate after warmup. ('linear', 'cosine', 'cosine_with_restarts',
            'cosine_with_min_lr', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt',
            'reduce_lr_on_plateau' or 'warmup_stable_decay'; default 'cosine')
        lr_scheduler_kwargs: Further arguments of the scheduler, such as num_cycles. (a mapping; default None)
        warmup_steps: Optimizer steps over which the learning rate rises from 0. (a whole number of at least 0;
            default 0)
        beta1: Decay of the first moment. (a number of at least 0 and less than 1; default 0.9)
        beta2: Decay of the second moment. (a number of at least 0 and less than 1; default 0.95)
        eps: Term added to the denominator. (a number greater than 0; default 1e-08)
        weight_decay: Decoupled weight decay. (a number of at least 0; default 0.0)
        max_grad_norm: Gradients are scaled down to this global norm; 0 means never. (a number of at least 0;
            default 1.0)
        use_liger: Use Liger's fused kernels (a GPU and liger-kernel are needed). (true or false; default False)
        checkpoint_at_epoch: Save a checkpoint at the end of each epoch. (true or false; default False)
        save_final_checkpoint: Save the model when training ends. (true or false; default True)
        keep_last_checkpoint_only: Delete a checkpoint once a newer one is complete. (true or false; default
            False)
        validation_split: Share of the rows held out to validate on; 0 means none. (a number of at least 0 and
            less than 1; default 0.0)
        validation_frequency: Validate every so many steps; by default once an epoch. (a whole number of at
            least 1; default None)
        save_best_val_loss: Keep a checkpoint of the lowest validation loss. (true or false; default False)
        val_loss_improvement_threshold: Least fall of the validation loss that counts as an improvement. (a
            number of at least 0; default 0.0)
        is_pretraining: Train on every token of documents instead of on conversations. (true or false; default
            False)
        block_size: Tokens in a block of documents; needed with is_pretraining. (a whole number of at least 2;
            default None)
        document_column_name: Key of a document in a row; by default text, or document. (text; default None)
        nproc_per_node: Processes on each node; gpu means one for each GPU, auto the same or one process without
            GPUs. (a whole number of at least 1 or 'auto' or 'gpu'; default 1)
        nnodes: Nodes of the run. (a whole number of at least 1; default 1)
        node_rank: Rank of this node, from 0. (a whole number of at least 0; default 0)
        rdzv_id: Id of the rendezvous, the same on every node. (text or a whole number; default None)
        rdzv_endpoint: HOST:PORT where the nodes meet. (text; default None)
        master_addr: Address of the node of rank 0, where rdzv_endpoint is not given. (text; default None)
        master_port: Port on the node of rank 0, where rdzv_endpoint is not given. (a whole number of at least 1
            and at most 65535; default None)
        callbacks: Objects whose methods are called as training goes on: in the caller's process, or on every
            rank where their class asks for that. (a list of TrainingHubCallback or TrainingHubCallback; default
            None)
        callback_errors: What a callback that raises does: stop the run with a checkpoint, or warn and go on.
            ('stop' or 'warn'; default 'stop')
        resume: Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it
            holds no run), or from a run or checkpoint elsewhere (its directory). (true or false or a path that
            is not empty; default False)
        resume_changes: With resume: what may differ from the run resumed, by name: parameters, or data, model,
            versions; any other difference is refused. (a list of text; default None)
        on_nan: What a loss that is NaN or infinite does: stop the run, or warn. ('stop' or 'warn'; default
            'stop')
        grace_seconds: How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its
            processes are ended. (a number greater than 0; default 300.0)
        hang_seconds: End a run from whose processes no event has come for so long once they train; None waits.
            (a number greater than 0; default None)
        lora_r: Rank of the adapter. (a whole number of at least 1; default 16)
        lora_alpha: Scale of the adapter's output: lora_alpha / lora_r. (a number greater than 0; default 32)
        lora_dropout: Dropout on the adapter's input. (a number of at least 0 and less than 1; default 0.0)
        target_modules: Names of the layers to adapt, or all-linear; by default all linear layers but the head.
            (a list of text or text; default None)
        use_rslora: Scale by lora_alpha / sqrt(lora_r) (rank-stabilised LoRA). (true or false; default False)
        use_dora: Learn magnitude and direction apart (DoRA). (true or false; default False)
        init_lora_weights: True starts as the base model; gaussian, pissa, olora, eva, corda, loftq or
            orthogonal differ. (true or false or text; default True)
        rank_pattern: Rank by layer name, where it differs from lora_r. (a mapping; default None)
        alpha_pattern: Alpha by layer name, where it differs from lora_alpha. (a mapping; default None)
        loftq_config: LoftQ's settings, with init_lora_weights=loftq: loftq_bits, loftq_iter. (a mapping;
            default None)
        load_in_4bit: Hold the base weights in 4 bits (bitsandbytes and a GPU are needed). (true or false;
            default False)
        load_in_8bit: Hold the base weights in 8 bits (bitsandbytes and a GPU are needed). (true or false;
            default False)
        bnb_4bit_quant_type: Data type of 4-bit weights. ('nf4' or 'fp4'; default 'nf4')
        bnb_4bit_compute_dtype: Data type that 4-bit weights are computed in. ('bfloat16', 'float16' or
            'float32'; default 'bfloat16')
        bnb_4bit_use_double_quant: Quantise the quantisation constants too. (true or false; default True)
        micro_batch_size: Rows in one forward pass of one process. (a whole number of at least 1; default None)
        gradient_accumulation_steps: Forward passes per optimizer step. (a whole number of at least 1; default
            None)
        flash_attention: Use the flash-attn package; by default as the backend does without being asked. (true
            or false; default None)
        sample_packing: Put several short rows in one sequence, kept apart by the mask. (true or false; default
            False)
        bf16: Compute in bfloat16; by default where the device can. (true or false; default None)
        fp16: Compute in float16. (true or false; default None)
        tf32: Allow TensorFloat-32 in float32 products; by default PyTorch's choice. (true or false; default
            None)
        save_steps: Save a checkpoint every so many steps. (a whole number of at least 1; default None)
        eval_steps: Validate every so many steps. (a whole number of at least 1; default None)
        logging_steps: Report figures every so many steps. (a whole number of at least 1; default 1)
        save_total_limit: Most checkpoints kept, the oldest deleted first. (a whole number of at least 1;
            default None)
        save_model: Save the adapter when training ends. (true or false; default True)
        save_merged_model: Also save the base model with the adapter merged in. (true or false; default False)
        eval_data_path: Rows to validate on, instead of validation_split. (a path that is not empty; default
            None)
        per_device_eval_batch_size: Rows in one validation pass; by default as in training. (a whole number of
            at least 1; default None)
        dataset_type: Format of the rows; by default told from their keys. ('chat_template', 'messages',
            'sharegpt', 'alpaca', 'prompt_completion' or 'passthrough'; default None)
        field_messages: Key of the conversation; by default messages. (text; default None)
        field_instruction: Key of the instruction; by default instruction. (text; default None)
        field_input: Key of the instruction's input; by default input. (text; default None)
        field_output: Key of the answer; by default output. (text; default None)
        enable_model_splitting: Spread one model over the GPUs of one process. (true or false; default False)
        finetune_vision_layers: Adapt the vision layers of a vision-language model. (true or false; default
            False)
        finetune_language_layers: Adapt the language layers. (true or false; default True)
        wandb_project: Weights & Biases project; turns that tracker on. (text; default None)
        wandb_entity: Weights & Biases team or user. (text; default None)
        wandb_run_name: Name of the run in Weights & Biases. (text; default None)
        tensorboard_log_dir: Directory of TensorBoard logs; turns that tracker on. (a path that is not empty;
            default None)
        mlflow_tracking_uri: MLflow tracking server, database or directory; turns that tracker on. (text;
            default None)
        mlflow_experiment_name: MLflow experiment. (text; default None)
        mlflow_run_name: Name of the run in MLflow. (text; default None)
        **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.

    Returns:
        A TrainingResult; from a backend that only writes execute_training, what that returned.

    Raises:
        UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
        TrainingFailedError: Training started and did not finish.
    """

@type_check_only
class SFT(SFTAlgorithm):
    """`sft` with its backend, ready to train."""

    def train(
        self,
        model_path: str | PathLike[str] = ...,
        data_path: str | PathLike[str] = ...,
        ckpt_output_dir: str | PathLike[str] = ...,
        backend: str | None = None,
        num_epochs: int = 3,
        effective_batch_size: int = 16,
        learning_rate: float = 2e-05,
        max_seq_len: int = 2048,
        max_tokens_per_gpu: int = ...,
        data_output_dir: str | PathLike[str] | None = None,
        *,
        overwrite_output_dir: bool = False,
        trust_remote_code: bool = False,
        seed: int = 42,
        lr_scheduler: Literal[
            "linear",
            "cosine",
            "cosine_with_restarts",
            "cosine_with_min_lr",
            "polynomial",
            "constant",
            "constant_with_warmup",
            "inverse_sqrt",
            "reduce_lr_on_plateau",
            "warmup_stable_decay",
        ] = "cosine",
        lr_scheduler_kwargs: dict[str, Any] | None = None,
        warmup_steps: int = 0,
        beta1: float = 0.9,
        beta2: float = 0.95,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        use_liger: bool = False,
        checkpoint_at_epoch: bool = False,
        save_final_checkpoint: bool = True,
        keep_last_checkpoint_only: bool = False,
        validation_split: float = 0.0,
        validation_frequency: int | None = None,
        save_best_val_loss: bool = False,
        val_loss_improvement_threshold: float = 0.0,
        is_pretraining: bool = False,
        block_size: int | None = None,
        document_column_name: str | None = None,
        nproc_per_node: int | Literal["auto", "gpu"] = 1,
        nnodes: int = 1,
        node_rank: int = 0,
        rdzv_id: str | int | None = None,
        rdzv_endpoint: str | None = None,
        master_addr: str | None = None,
        master_port: int | None = None,
        callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None = None,
        callback_errors: Literal["stop", "warn"] = "stop",
        resume: bool | str | PathLike[str] = False,
        resume_changes: list[str] | None = None,
        on_nan: Literal["stop", "warn"] = "stop",
        grace_seconds: float = 300.0,
        hang_seconds: float | None = None,
        save_samples: int = 0,
        accelerate_full_state_at_epoch: bool = True,
        fsdp_options: FSDPOptions | None = None,
        wandb_project: str | None = None,
        wandb_entity: str | None = None,
        wandb_run_name: str | None = None,
        tensorboard_log_dir: str | PathLike[str] | None = None,
        mlflow_tracking_uri: str | None = None,
        mlflow_experiment_name: str | None = None,
        mlflow_run_name: str | None = None,
        **backend_kwargs: Any,
    ) -> TrainingResult:
        """Supervised fine-tuning: every weight learns to continue the rows' prompts as their assistant turns do.

        Args:
            model_path: Directory of the model, or its id on the Hugging Face Hub. (a path that is not empty;
                required)
            data_path: Training rows: a JSONL, JSON or Parquet file. (a path that is not empty; required)
            ckpt_output_dir: Directory of the run: checkpoints, events, logs, manifest. (a path that is not empty;
                required)
            backend: Backend to train with; by default the first recommended one that is available here. (text;
                default None)
            overwrite_output_dir: Replace the run that ckpt_output_dir holds; without this it is refused. (true or
                false; default False)
            data_output_dir: Directory for processed data; by default `data` inside ckpt_output_dir. (a path that is
                not empty; default None)
            trust_remote_code: Run Python code that comes with the model. Only if you trust it. (true or false;
                default False)
            seed: Seed of data order, validation split and weight initialisation. (a whole number of at least 0 and
                less than 4294967296; default 42)
            num_epochs: Passes over the training rows. (a whole number of at least 1; default 3)
            effective_batch_size: Rows per optimizer step, over all processes and micro-batches; exact. (a whole
                number of at least 1; default 16)
            max_seq_len: Longest row in tokens; longer rows are left out, with a warning. (a whole number of at
                least 1; default 2048)
            max_tokens_per_gpu: Most tokens in one micro-batch of one process; bounds memory, never changes the
                result. (a whole number of at least 1; default the greater of 8192 and max_seq_len)
            learning_rate: Peak learning rate. (a number greater than 0 and at most 1; default 2e-05)
            lr_scheduler: Shape of the learning rate after warmup. ('linear', 'cosine', 'cosine_with_restarts',
                'cosine_with_min_lr', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt',
                'reduce_lr_on_plateau' or 'warmup_stable_decay'; default 'cosine')
            lr_scheduler_kwargs: Further arguments of the scheduler, such as num_cycles. (a mapping; default None)
            warmup_steps: Optimizer steps over which the learning rate rises from 0. (a whole number of at least 0;
                default 0)
            beta1: Decay of the first moment. (a number of at least 0 and less than 1; default 0.9)
            beta2: Decay of the second moment. (a number of at least 0 and less than 1; default 0.95)
            eps: Term added to the denominator. (a number greater than 0; default 1e-08)
            weight_decay: Decoupled weight decay. (a number of at least 0; default 0.0)
            max_grad_norm: Gradients are scaled down to this global norm; 0 means never. (a number of at least 0;
                default 1.0)
            use_liger: Use Liger's fused kernels (a GPU and liger-kernel are needed). (true or false; default False)
            checkpoint_at_epoch: Save a checkpoint at the end of each epoch. (true or false; default False)
            save_final_checkpoint: Save the model when training ends. (true or false; default True)
            keep_last_checkpoint_only: Delete a checkpoint once a newer one is complete. (true or false; default
                False)
            validation_split: Share of the rows held out to validate on; 0 means none. (a number of at least 0 and
                less than 1; default 0.0)
            validation_frequency: Validate every so many steps; by default once an epoch. (a whole number of at
                least 1; default None)
            save_best_val_loss: Keep a checkpoint of the lowest validation loss. (true or false; default False)
            val_loss_improvement_threshold: Least fall of the validation loss that counts as an improvement. (a
                number of at least 0; default 0.0)
            is_pretraining: Train on every token of documents instead of on conversations. (true or false; default
                False)
            block_size: Tokens in a block of documents; needed with is_pretraining. (a whole number of at least 2;
                default None)
            document_column_name: Key of a document in a row; by default text, or document. (text; default None)
            nproc_per_node: Processes on each node; gpu means one for each GPU, auto the same or one process without
                GPUs. (a whole number of at least 1 or 'auto' or 'gpu'; default 1)
            nnodes: Nodes of the run. (a whole number of at least 1; default 1)
            node_rank: Rank of this node, from 0. (a whole number of at least 0; default 0)
            rdzv_id: Id of the rendezvous, the same on every node. (text or a whole number; default None)
            rdzv_endpoint: HOST:PORT where the nodes meet. (text; default None)
            master_addr: Address of the node of rank 0, where rdzv_endpoint is not given. (text; default None)
            master_port: Port on the node of rank 0, where rdzv_endpoint is not given. (a whole number of at least 1
                and at most 65535; default None)
            callbacks: Objects whose methods are called as training goes on: in the caller's process, or on every
                rank where their class asks for that. (a list of TrainingHubCallback or TrainingHubCallback; default
                None)
            callback_errors: What a callback that raises does: stop the run with a checkpoint, or warn and go on.
                ('stop' or 'warn'; default 'stop')
            resume: Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it
                holds no run), or from a run or checkpoint elsewhere (its directory). (true or false or a path that
                is not empty; default False)
            resume_changes: With resume: what may differ from the run resumed, by name: parameters, or data, model,
                versions; any other difference is refused. (a list of text; default None)
            on_nan: What a loss that is NaN or infinite does: stop the run, or warn. ('stop' or 'warn'; default
                'stop')
            grace_seconds: How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its
                processes are ended. (a number greater than 0; default 300.0)
            hang_seconds: End a run from whose processes no event has come for so long once they train; None waits.
                (a number greater than 0; default None)
            save_samples: Save a checkpoint every so many rows; 0 means not by rows. (a whole number of at least 0;
                default 0)
            accelerate_full_state_at_epoch: With checkpoint_at_epoch, also save optimizer, scheduler and random
                state, to resume from. (true or false; default True)
            fsdp_options: How weights are sharded over GPUs: sharding_strategy, cpu_offload_params. (a mapping;
                default None)
            wandb_project: Weights & Biases project; turns that tracker on. (text; default None)
            wandb_entity: Weights & Biases team or user. (text; default None)
            wandb_run_name: Name of the run in Weights & Biases. (text; default None)
            tensorboard_log_dir: Directory of TensorBoard logs; turns that tracker on. (a path that is not empty;
                default None)
            mlflow_tracking_uri: MLflow tracking server, database or directory; turns that tracker on. (text;
                default None)
            mlflow_experiment_name: MLflow experiment. (text; default None)
            mlflow_run_name: Name of the run in MLflow. (text; default None)
            **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.

        Returns:
            A TrainingResult; from a backend that only writes execute_training, what that returned.

        Raises:
            UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
            TrainingFailedError: Training started and did not finish.
        """

@type_check_only
class OSFT(OSFTAlgorithm):
    """`osft` with its backend, ready to train."""

    def train(
        self,
        model_path: str | PathLike[str] = ...,
        data_path: str | PathLike[str] = ...,
        unfreeze_rank_ratio: float = ...,
        effective_batch_size: int = 16,
        max_tokens_per_gpu: int = ...,
        max_seq_len: int = 2048,
        learning_rate: float = 5e-06,
        ckpt_output_dir: str | PathLike[str] = ...,
        data_output_dir: str | PathLike[str] | None = None,
        backend: str | None = None,
        *,
        overwrite_output_dir: bool = False,
        trust_remote_code: bool = False,
        seed: int = 42,
        num_epochs: int = 3,
        lr_scheduler: Literal[
            "linear",
            "cosine",
            "cosine_with_restarts",
            "cosine_with_min_lr",
            "polynomial",
            "constant",
            "constant_with_warmup",
            "inverse_sqrt",
            "reduce_lr_on_plateau",
            "warmup_stable_decay",
        ] = "cosine",
        lr_scheduler_kwargs: dict[str, Any] | None = None,
        warmup_steps: int = 0,
        beta1: float = 0.9,
        beta2: float = 0.95,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        use_liger: bool = False,
        checkpoint_at_epoch: bool = False,
        save_final_checkpoint: bool = True,
        keep_last_checkpoint_only: bool = False,
        validation_split: float = 0.0,
        validation_frequency: int | None = None,
        save_best_val_loss: bool = False,
        val_loss_improvement_threshold: float = 0.0,
        is_pretraining: bool = False,
        block_size: int | None = None,
        document_column_name: str | None = None,
        nproc_per_node: int | Literal["auto", "gpu"] = 1,
        nnodes: int = 1,
        node_rank: int = 0,
        rdzv_id: str | int | None = None,
        rdzv_endpoint: str | None = None,
        master_addr: str | None = None,
        master_port: int | None = None,
        callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None = None,
        callback_errors: Literal["stop", "warn"] = "stop",
        resume: bool | str | PathLike[str] = False,
        resume_changes: list[str] | None = None,
        on_nan: Literal["stop", "warn"] = "stop",
        grace_seconds: float = 300.0,
        hang_seconds: float | None = None,
        target_patterns: list[str] | None = None,
        min_protected_share: float = 0.5,
        use_processed_dataset: bool = False,
        unmask_messages: bool = False,
        osft_memory_efficient_init: bool = False,
        wandb_project: str | None = None,
        wandb_entity: str | None = None,
        wandb_run_name: str | None = None,
        tensorboard_log_dir: str | PathLike[str] | None = None,
        mlflow_tracking_uri: str | None = None,
        mlflow_experiment_name: str | None = None,
        mlflow_run_name: str | None = None,
        **backend_kwargs: Any,
    ) -> TrainingResult:
        """Orthogonal Subspace Fine-Tuning (arXiv:2504.07097): new knowledge goes where the weights hold the least.

        The top singular directions of each weight are kept; updates stay orthogonal to them.

        Args:
            model_path: Directory of the model, or its id on the Hugging Face Hub. (a path that is not empty;
                required)
            data_path: Training rows: a JSONL, JSON or Parquet file. (a path that is not empty; required)
            ckpt_output_dir: Directory of the run: checkpoints, events, logs, manifest. (a path that is not empty;
                required)
            backend: Backend to train with; by default the first recommended one that is available here. (text;
                default None)
            overwrite_output_dir: Replace the run that ckpt_output_dir holds; without this it is refused. (true or
                false; default False)
            data_output_dir: Directory for processed data; by default `data` inside ckpt_output_dir. (a path that is
                not empty; default None)
            trust_remote_code: Run Python code that comes with the model. Only if you trust it. (true or false;
                default False)
            seed: Seed of data order, validation split and weight initialisation. (a whole number of at least 0 and
                less than 4294967296; default 42)
            num_epochs: Passes over the training rows. (a whole number of at least 1; default 3)
            effective_batch_size: Rows per optimizer step, over all processes and micro-batches; exact. (a whole
                number of at least 1; default 16)
            max_seq_len: Longest row in tokens; longer rows are left out, with a warning. (a whole number of at
                least 1; default 2048)
            max_tokens_per_gpu: Most tokens in one micro-batch of one process; bounds memory, never changes the
                result. (a whole number of at least 1; default the greater of 8192 and max_seq_len)
            learning_rate: Peak learning rate. (a number greater than 0 and at most 1; default 5e-06)
            lr_scheduler: Shape of the learning rate after warmup. ('linear', 'cosine', 'cosine_with_restarts',
                'cosine_with_min_lr', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt',
                'reduce_lr_on_plateau' or 'warmup_stable_decay'; default 'cosine')
            lr_scheduler_kwargs: Further arguments of the scheduler, such as num_cycles. (a mapping; default None)
            warmup_steps: Optimizer steps over which the learning rate rises from 0. (a whole number of at least 0;
                default 0)
            beta1: Decay of the first moment. (a number of at least 0 and less than 1; default 0.9)
            beta2: Decay of the second moment. (a number of at least 0 and less than 1; default 0.95)
            eps: Term added to the denominator. (a number greater than 0; default 1e-08)
            weight_decay: Decoupled weight decay. (a number of at least 0; default 0.0)
            max_grad_norm: Gradients are scaled down to this global norm; 0 means never. (a number of at least 0;
                default 1.0)
            use_liger: Use Liger's fused kernels (a GPU and liger-kernel are needed). (true or false; default False)
            checkpoint_at_epoch: Save a checkpoint at the end of each epoch. (true or false; default False)
            save_final_checkpoint: Save the model when training ends. (true or false; default True)
            keep_last_checkpoint_only: Delete a checkpoint once a newer one is complete. (true or false; default
                False)
            validation_split: Share of the rows held out to validate on; 0 means none. (a number of at least 0 and
                less than 1; default 0.0)
            validation_frequency: Validate every so many steps; by default once an epoch. (a whole number of at
                least 1; default None)
            save_best_val_loss: Keep a checkpoint of the lowest validation loss. (true or false; default False)
            val_loss_improvement_threshold: Least fall of the validation loss that counts as an improvement. (a
                number of at least 0; default 0.0)
            is_pretraining: Train on every token of documents instead of on conversations. (true or false; default
                False)
            block_size: Tokens in a block of documents; needed with is_pretraining. (a whole number of at least 2;
                default None)
            document_column_name: Key of a document in a row; by default text, or document. (text; default None)
            nproc_per_node: Processes on each node; gpu means one for each GPU, auto the same or one process without
                GPUs. (a whole number of at least 1 or 'auto' or 'gpu'; default 1)
            nnodes: Nodes of the run. (a whole number of at least 1; default 1)
            node_rank: Rank of this node, from 0. (a whole number of at least 0; default 0)
            rdzv_id: Id of the rendezvous, the same on every node. (text or a whole number; default None)
            rdzv_endpoint: HOST:PORT where the nodes meet. (text; default None)
            master_addr: Address of the node of rank 0, where rdzv_endpoint is not given. (text; default None)
            master_port: Port on the node of rank 0, where rdzv_endpoint is not given. (a whole number of at least 1
                and at most 65535; default None)
            callbacks: Objects whose methods are called as training goes on: in the caller's process, or on every
                rank where their class asks for that. (a list of TrainingHubCallback or TrainingHubCallback; default
                None)
            callback_errors: What a callback that raises does: stop the run with a checkpoint, or warn and go on.
                ('stop' or 'warn'; default 'stop')
            resume: Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it
                holds no run), or from a run or checkpoint elsewhere (its directory). (true or false or a path that
                is not empty; default False)
            resume_changes: With resume: what may differ from the run resumed, by name: parameters, or data, model,
                versions; any other difference is refused. (a list of text; default None)
            on_nan: What a loss that is NaN or infinite does: stop the run, or warn. ('stop' or 'warn'; default
                'stop')
            grace_seconds: How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its
                processes are ended. (a number greater than 0; default 300.0)
            hang_seconds: End a run from whose processes no event has come for so long once they train; None waits.
                (a number greater than 0; default None)
            unfreeze_rank_ratio: Share of each weight's singular directions that may change, such as 0.25. (a number
                of at least 0 and at most 1; required)
            target_patterns: Parts of the names of the weights to decompose; by default all matrices of the layers.
                (a list of text; default None)
            min_protected_share: Least share of the weights of the model's layers that must be protected to begin; 0
                asks for none. (a number of at least 0 and at most 1; default 0.5)
            use_processed_dataset: The rows are tokens already: input_ids and labels. (true or false; default False)
            unmask_messages: Train on the turns of every role, not of the assistant alone. (true or false; default
                False)
            osft_memory_efficient_init: Decompose the weights with less memory at a time, where the backend can.
                (true or false; default False)
            wandb_project: Weights & Biases project; turns that tracker on. (text; default None)
            wandb_entity: Weights & Biases team or user. (text; default None)
            wandb_run_name: Name of the run in Weights & Biases. (text; default None)
            tensorboard_log_dir: Directory of TensorBoard logs; turns that tracker on. (a path that is not empty;
                default None)
            mlflow_tracking_uri: MLflow tracking server, database or directory; turns that tracker on. (text;
                default None)
            mlflow_experiment_name: MLflow experiment. (text; default None)
            mlflow_run_name: Name of the run in MLflow. (text; default None)
            **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.

        Returns:
            A TrainingResult; from a backend that only writes execute_training, what that returned.

        Raises:
            UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
            TrainingFailedError: Training started and did not finish.
        """

@type_check_only
class LoRASFT(LoRASFTAlgorithm):
    """`lora_sft` with its backend, ready to train."""

    def train(
        self,
        model_path: str | PathLike[str] = ...,
        data_path: str | PathLike[str] = ...,
        ckpt_output_dir: str | PathLike[str] = ...,
        backend: str | None = None,
        lora_r: int = 16,
        lora_alpha: float = 32,
        lora_dropout: float = 0.0,
        target_modules: list[str] | str | None = None,
        num_epochs: int = 3,
        effective_batch_size: int = 16,
        *,
        overwrite_output_dir: bool = False,
        data_output_dir: str | PathLike[str] | None = None,
        trust_remote_code: bool = False,
        seed: int = 42,
        max_seq_len: int = 2048,
        max_tokens_per_gpu: int = ...,
        learning_rate: float = 0.0002,
        lr_scheduler: Literal[
            "linear",
            "cosine",
            "cosine_with_restarts",
            "cosine_with_min_lr",
            "polynomial",
            "constant",
            "constant_with_warmup",
            "inverse_sqrt",
            "reduce_lr_on_plateau",
            "warmup_stable_decay",
        ] = "cosine",
        lr_scheduler_kwargs: dict[str, Any] | None = None,
        warmup_steps: int = 0,
        beta1: float = 0.9,
        beta2: float = 0.95,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        use_liger: bool = False,
        checkpoint_at_epoch: bool = False,
        save_final_checkpoint: bool = True,
        keep_last_checkpoint_only: bool = False,
        validation_split: float = 0.0,
        validation_frequency: int | None = None,
        save_best_val_loss: bool = False,
        val_loss_improvement_threshold: float = 0.0,
        is_pretraining: bool = False,
        block_size: int | None = None,
        document_column_name: str | None = None,
        nproc_per_node: int | Literal["auto", "gpu"] = 1,
        nnodes: int = 1,
        node_rank: int = 0,
        rdzv_id: str | int | None = None,
        rdzv_endpoint: str | None = None,
        master_addr: str | None = None,
        master_port: int | None = None,
        callbacks: Sequence[TrainingHubCallback] | TrainingHubCallback | None = None,
        callback_errors: Literal["stop", "warn"] = "stop",
        resume: bool | str | PathLike[str] = False,
        resume_changes: list[str] | None = None,
        on_nan: Literal["stop", "warn"] = "stop",
        grace_seconds: float = 300.0,
        hang_seconds: float | None = None,
        use_rslora: bool = False,
        use_dora: bool = False,
        init_lora_weights: bool | str = True,
        rank_pattern: dict[str, int] | None = None,
        alpha_pattern: dict[str, float] | None = None,
        loftq_config: dict[str, Any] | None = None,
        load_in_4bit: bool = False,
        load_in_8bit: bool = False,
        bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4",
        bnb_4bit_compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        bnb_4bit_use_double_quant: bool = True,
        micro_batch_size: int | None = None,
        gradient_accumulation_steps: int | None = None,
        flash_attention: bool | None = None,
        sample_packing: bool = False,
        bf16: bool | None = None,
        fp16: bool | None = None,
        tf32: bool | None = None,
        save_steps: int | None = None,
        eval_steps: int | None = None,
        logging_steps: int = 1,
        save_total_limit: int | None = None,
        save_model: bool = True,
        save_merged_model: bool = False,
        eval_data_path: str | PathLike[str] | None = None,
        per_device_eval_batch_size: int | None = None,
        dataset_type: Literal[
            "chat_template",
            "messages",
            "sharegpt",
            "alpaca",
            "prompt_completion",
            "passthrough",
        ]
        | None = None,
        field_messages: str | None = None,
        field_instruction: str | None = None,
        field_input: str | None = None,
        field_output: str | None = None,
        enable_model_splitting: bool = False,
        finetune_vision_layers: bool = False,
        finetune_language_layers: bool = True,
        wandb_project: str | None = None,
        wandb_entity: str | None = None,
        wandb_run_name: str | None = None,
        tensorboard_log_dir: str | PathLike[str] | None = None,
        mlflow_tracking_uri: str | None = None,
        mlflow_experiment_name: str | None = None,
        mlflow_run_name: str | None = None,
        **backend_kwargs: Any,
    ) -> TrainingResult:
        """Supervised fine-tuning of low-rank adapters (LoRA, arXiv:2106.09685; QLoRA, arXiv:2305.14314).

        Args:
            model_path: Directory of the model, or its id on the Hugging Face Hub. (a path that is not empty;
                required)
            data_path: Training rows: a JSONL, JSON or Parquet file. (a path that is not empty; required)
            ckpt_output_dir: Directory of the run: checkpoints, events, logs, manifest. (a path that is not empty;
                required)
            backend: Backend to train with; by default the first recommended one that is available here. (text;
                default None)
            overwrite_output_dir: Replace the run that ckpt_output_dir holds; without this it is refused. (true or
                false; default False)
            data_output_dir: Directory for processed data; by default `data` inside ckpt_output_dir. (a path that is
                not empty; default None)
            trust_remote_code: Run Python code that comes with the model. Only if you trust it. (true or false;
                default False)
            seed: Seed of data order, validation split and weight initialisation. (a whole number of at least 0 and
                less than 4294967296; default 42)
            num_epochs: Passes over the training rows. (a whole number of at least 1; default 3)
            effective_batch_size: Rows per optimizer step, over all processes and micro-batches; exact. (a whole
                number of at least 1; default 16)
            max_seq_len: Longest row in tokens; longer rows are left out, with a warning. (a whole number of at
                least 1; default 2048)
            max_tokens_per_gpu: Most tokens in one micro-batch of one process; bounds memory, never changes the
                result. (a whole number of at least 1; default the greater of 8192 and max_seq_len)
            learning_rate: Peak learning rate. (a number greater than 0 and at most 1; default 0.0002)
            lr_scheduler: Shape of the learning rate after warmup. ('linear', 'cosine', 'cosine_with_restarts',
                'cosine_with_min_lr', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt',
                'reduce_lr_on_plateau' or 'warmup_stable_decay'; default 'cosine')
            lr_scheduler_kwargs: Further arguments of the scheduler, such as num_cycles. (a mapping; default None)
            warmup_steps: Optimizer steps over which the learning rate rises from 0. (a whole number of at least 0;
                default 0)
            beta1: Decay of the first moment. (a number of at least 0 and less than 1; default 0.9)
            beta2: Decay of the second moment. (a number of at least 0 and less than 1; default 0.95)
            eps: Term added to the denominator. (a number greater than 0; default 1e-08)
            weight_decay: Decoupled weight decay. (a number of at least 0; default 0.0)
            max_grad_norm: Gradients are scaled down to this global norm; 0 means never. (a number of at least 0;
                default 1.0)
            use_liger: Use Liger's fused kernels (a GPU and liger-kernel are needed). (true or false; default False)
            checkpoint_at_epoch: Save a checkpoint at the end of each epoch. (true or false; default False)
            save_final_checkpoint: Save the model when training ends. (true or false; default True)
            keep_last_checkpoint_only: Delete a checkpoint once a newer one is complete. (true or false; default
                False)
            validation_split: Share of the rows held out to validate on; 0 means none. (a number of at least 0 and
                less than 1; default 0.0)
            validation_frequency: Validate every so many steps; by default once an epoch. (a whole number of at
                least 1; default None)
            save_best_val_loss: Keep a checkpoint of the lowest validation loss. (true or false; default False)
            val_loss_improvement_threshold: Least fall of the validation loss that counts as an improvement. (a
                number of at least 0; default 0.0)
            is_pretraining: Train on every token of documents instead of on conversations. (true or false; default
                False)
            block_size: Tokens in a block of documents; needed with is_pretraining. (a whole number of at least 2;
                default None)
            document_column_name: Key of a document in a row; by default text, or document. (text; default None)
            nproc_per_node: Processes on each node; gpu means one for each GPU, auto the same or one process without
                GPUs. (a whole number of at least 1 or 'auto' or 'gpu'; default 1)
            nnodes: Nodes of the run. (a whole number of at least 1; default 1)
            node_rank: Rank of this node, from 0. (a whole number of at least 0; default 0)
            rdzv_id: Id of the rendezvous, the same on every node. (text or a whole number; default None)
            rdzv_endpoint: HOST:PORT where the nodes meet. (text; default None)
            master_addr: Address of the node of rank 0, where rdzv_endpoint is not given. (text; default None)
            master_port: Port on the node of rank 0, where rdzv_endpoint is not given. (a whole number of at least 1
                and at most 65535; default None)
            callbacks: Objects whose methods are called as training goes on: in the caller's process, or on every
                rank where their class asks for that. (a list of TrainingHubCallback or TrainingHubCallback; default
                None)
            callback_errors: What a callback that raises does: stop the run with a checkpoint, or warn and go on.
                ('stop' or 'warn'; default 'stop')
            resume: Go on from the last complete checkpoint of ckpt_output_dir (True; from the beginning where it
                holds no run), or from a run or checkpoint elsewhere (its directory). (true or false or a path that
                is not empty; default False)
            resume_changes: With resume: what may differ from the run resumed, by name: parameters, or data, model,
                versions; any other difference is refused. (a list of text; default None)
            on_nan: What a loss that is NaN or infinite does: stop the run, or warn. ('stop' or 'warn'; default
                'stop')
            grace_seconds: How long a run that SIGTERM, SIGINT or a callback stops may take to save, before its
                processes are ended. (a number greater than 0; default 300.0)
            hang_seconds: End a run from whose processes no event has come for so long once they train; None waits.
                (a number greater than 0; default None)
            lora_r: Rank of the adapter. (a whole number of at least 1; default 16)
            lora_alpha: Scale of the adapter's output: lora_alpha / lora_r. (a number greater than 0; default 32)
            lora_dropout: Dropout on the adapter's input. (a number of at least 0 and less than 1; default 0.0)
            target_modules: Names of the layers to adapt, or all-linear; by default all linear layers but the head.
                (a list of text or text; default None)
            use_rslora: Scale by lora_alpha / sqrt(lora_r) (rank-stabilised LoRA). (true or false; default False)
            use_dora: Learn magnitude and direction apart (DoRA). (true or false; default False)
            init_lora_weights: True starts as the base model; gaussian, pissa, olora, eva, corda, loftq or
                orthogonal differ. (true or false or text; default True)
            rank_pattern: Rank by layer name, where it differs from lora_r. (a mapping; default None)
            alpha_pattern: Alpha by layer name, where it differs from lora_alpha. (a mapping; default None)
            loftq_config: LoftQ's settings, with init_lora_weights=loftq: loftq_bits, loftq_iter. (a mapping;
                default None)
            load_in_4bit: Hold the base weights in 4 bits (bitsandbytes and a GPU are needed). (true or false;
                default False)
            load_in_8bit: Hold the base weights in 8 bits (bitsandbytes and a GPU are needed). (true or false;
                default False)
            bnb_4bit_quant_type: Data type of 4-bit weights. ('nf4' or 'fp4'; default 'nf4')
            bnb_4bit_compute_dtype: Data type that 4-bit weights are computed in. ('bfloat16', 'float16' or
                'float32'; default 'bfloat16')
            bnb_4bit_use_double_quant: Quantise the quantisation constants too. (true or false; default True)
            micro_batch_size: Rows in one forward pass of one process. (a whole number of at least 1; default None)
            gradient_accumulation_steps: Forward passes per optimizer step. (a whole number of at least 1; default
                None)
            flash_attention: Use the flash-attn package; by default as the backend does without being asked. (true
                or false; default None)
            sample_packing: Put several short rows in one sequence, kept apart by the mask. (true or false; default
                False)
            bf16: Compute in bfloat16; by default where the device can. (true or false; default None)
            fp16: Compute in float16. (true or false; default None)
            tf32: Allow TensorFloat-32 in float32 products; by default PyTorch's choice. (true or false; default
                None)
            save_steps: Save a checkpoint every so many steps. (a whole number of at least 1; default None)
            eval_steps: Validate every so many steps. (a whole number of at least 1; default None)
            logging_steps: Report figures every so many steps. (a whole number of at least 1; default 1)
            save_total_limit: Most checkpoints kept, the oldest deleted first. (a whole number of at least 1;
                default None)
            save_model: Save the adapter when training ends. (true or false; default True)
            save_merged_model: Also save the base model with the adapter merged in. (true or false; default False)
            eval_data_path: Rows to validate on, instead of validation_split. (a path that is not empty; default
                None)
            per_device_eval_batch_size: Rows in one validation pass; by default as in training. (a whole number of
                at least 1; default None)
            dataset_type: Format of the rows; by default told from their keys. ('chat_template', 'messages',
                'sharegpt', 'alpaca', 'prompt_completion' or 'passthrough'; default None)
            field_messages: Key of the conversation; by default messages. (text; default None)
            field_instruction: Key of the instruction; by default instruction. (text; default None)
            field_input: Key of the instruction's input; by default input. (text; default None)
            field_output: Key of the answer; by default output. (text; default None)
            enable_model_splitting: Spread one model over the GPUs of one process. (true or false; default False)
            finetune_vision_layers: Adapt the vision layers of a vision-language model. (true or false; default
                False)
            finetune_language_layers: Adapt the language layers. (true or false; default True)
            wandb_project: Weights & Biases project; turns that tracker on. (text; default None)
            wandb_entity: Weights & Biases team or user. (text; default None)
            wandb_run_name: Name of the run in Weights & Biases. (text; default None)
            tensorboard_log_dir: Directory of TensorBoard logs; turns that tracker on. (a path that is not empty;
                default None)
            mlflow_tracking_uri: MLflow tracking server, database or directory; turns that tracker on. (text;
                default None)
            mlflow_experiment_name: MLflow experiment. (text; default None)
            mlflow_run_name: Name of the run in MLflow. (text; default None)
            **backend_kwargs: Arguments of the backend's own; names that it does not know are refused.

        Returns:
            A TrainingResult; from a backend that only writes execute_training, what that returned.

        Raises:
            UserError: The request does not hold; nothing was started. Also a ValueError or FileNotFoundError.
            TrainingFailedError: Training started and did not finish.
        """

@overload
def create_algorithm(
    algorithm_name: Literal["sft"],
    backend_name: str | None = None,
    **settings: Any,
) -> SFT: ...
@overload
def create_algorithm(
    algorithm_name: Literal["osft"],
    backend_name: str | None = None,
    **settings: Any,
) -> OSFT: ...
@overload
def create_algorithm(
    algorithm_name: Literal["lora_sft"],
    backend_name: str | None = None,
    **settings: Any,
) -> LoRASFT: ...
@overload
def create_algorithm(
    algorithm_name: str,
    backend_name: str | None = None,
    **settings: Any,
) -> Algorithm:
    """Make an algorithm that is ready to train.

    Args:
        algorithm_name: `sft`, `osft`, `lora_sft`, or one that a plugin brings.
        backend_name: The backend to use; by default the first recommended one that is available here.
        **settings: Parameters that every `train` starts from.

    Raises:
        AlgorithmNotFoundError: There is no such algorithm.
        BackendNotFoundError: There is no such backend, or none is installed.
        BackendUnavailableError: The backend cannot run on this machine.
        PluginError: The backend's plugin cannot be loaded.
    """
