"""llama.cpp in this process, as a LangChain chat model; imports nothing of divide and conquer."""
