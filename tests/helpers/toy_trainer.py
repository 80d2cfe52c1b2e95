"""transformers' own Trainer on a toy task, for tests in this process and in several."""

import toy_tasks
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding, Trainer, TrainingArguments


def collator(task, **options):
    """Return the library's collator for a toy task."""
    per_word = task.head.__name__ in ("ElmoForPreTraining", "ElmoForMaskedLM", "ElmoForTokenClassification")
    return (DataCollatorForTokenClassification if per_word else DataCollatorWithPadding)(
        toy_tasks.tokenizer(), **options
    )


def make_trainer(task, folder, model=None, count=12, **arguments):
    """Return a Trainer of a toy task that does nothing at random; `arguments` override its settings."""
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "per_device_train_batch_size": 6,
        "max_steps": 1,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
    }
    return Trainer(
        model=task.model() if model is None else model,
        args=TrainingArguments(**{**settings, **arguments}),
        train_dataset=task.features(count),
        eval_dataset=task.features(5, seed=1),
        data_collator=collator(task),
    )
