"""``python -m radps`` is ``radps-run``."""

from radps.cli import main

if __name__ == "__main__":
    main()
