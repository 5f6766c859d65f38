"""The configuration that a run really has: all files and --config, checked, with every default.

Out: config.yaml, which plan, doctor and report read. No program writes it, because Snakemake alone
knows what it was given; the log says that.
"""

from hashlib import sha256

from fusionchat.config import config_text, save_config


rule write_config:
    """Write the configuration as Snakemake merged it."""
    output:
        config="<results>/config.yaml",
    log:
        "<logs>/write_config.log",
    benchmark:
        "<benchmarks>/write_config.tsv"
    localrule: True
    threads: 1
    params:
        config=sha256(config_text(config).encode()).hexdigest(),
        files=GIVEN,
        settings=dict(workflow.config_settings.config),
    run:
        save_config(output.config, config)
        Path(log[0]).write_text(f"merged from {params.files} and {params.settings}\n")
