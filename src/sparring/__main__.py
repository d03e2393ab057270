from .cli import main

if __name__ == "__main__":  # processes that prepare text import this again
    main()
