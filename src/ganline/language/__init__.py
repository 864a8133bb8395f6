"""Language-model image generators: tokenizers, a Llama over image tokens, prompts."""
