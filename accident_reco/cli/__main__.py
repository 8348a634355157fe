"""`python -m accident_reco.cli`: the same as `accident-reco`."""

from accident_reco.cli.app import main

if __name__ == "__main__":
    main()
