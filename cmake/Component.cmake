# atoll_component(NAME name SOURCES a.cpp ... PUBLIC_DEPS ... PRIVATE_DEPS ...)
#   One static library atoll_<name> for one folder, sources listed. It also makes
#   - headers_<name>: every header of the folder compiled alone (part of target check_headers), and
#   - link_<name>: an empty program linked with the whole archive, which fails if the folder needs
#     something that its declared dependencies do not bring (part of target check_links).
# atoll_test(NAME name SOURCES ... DEPS ... [LABELS ...] [ARGS ...])
#   One GoogleTest program, registered with CTest. Label "fast" unless told otherwise; tests of the
#   folders in ATOLL_THREADED_FOLDERS also get label "tsan": they run under the thread sanitizer.
#   Target tests_<label> builds the tests with that label.
# atoll_fuzz(NAME name SOURCES ... DEPS ...)
#   One libFuzzer target fuzz_<name>, built with ATOLL_FUZZ; target fuzzers builds them all.

set(ATOLL_THREADED_FOLDERS transport transport/tls actors runtime/tensor apps/http)

add_library(atoll_options INTERFACE)
target_include_directories(atoll_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(atoll_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor -Wno-sign-conversion
  # GCC 12 reports overlapping copies in "literal" + std::string at -O2 (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # Results must not depend on what a compiler contracts or reorders: fused operations are written out.
  -ffp-contract=off)
if(ATOLL_WERROR)
  target_compile_options(atoll_options INTERFACE -Werror)
endif()
if(ATOLL_SANITIZE)
  target_compile_options(atoll_options INTERFACE -fsanitize=${ATOLL_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(atoll_options INTERFACE -fsanitize=${ATOLL_SANITIZE})
endif()
if(ATOLL_FUZZ)
  target_compile_options(atoll_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
find_package(Threads REQUIRED)
target_link_libraries(atoll_options INTERFACE Threads::Threads)

add_custom_target(check_headers)
add_custom_target(check_links)
add_custom_target(fuzzers)
foreach(label fast slow sim tsan)
  add_custom_target(tests_${label})
endforeach()

function(atoll_component)
  cmake_parse_arguments(C "" "NAME" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS" ${ARGN})
  set(lib atoll_${C_NAME})
  add_library(${lib} STATIC ${C_SOURCES})
  target_link_libraries(${lib} PUBLIC atoll_options ${C_PUBLIC_DEPS} PRIVATE ${C_PRIVATE_DEPS})

  file(GLOB_RECURSE headers RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS *.hpp)
  set(units)
  foreach(header ${headers})
    string(REPLACE "/" "_" unit ${header})
    set(unit ${CMAKE_CURRENT_BINARY_DIR}/header_check/${unit}.cpp)
    file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/${header})
    file(CONFIGURE OUTPUT ${unit} CONTENT "#include \"${path}\"\n")
    list(APPEND units ${unit})
  endforeach()
  if(units)
    add_library(headers_${C_NAME} OBJECT EXCLUDE_FROM_ALL ${units})
    target_link_libraries(headers_${C_NAME} PRIVATE ${lib} ${C_PRIVATE_DEPS})
    target_compile_options(headers_${C_NAME} PRIVATE -O0 -g0)
    add_dependencies(check_headers headers_${C_NAME})
  endif()

  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/link_${C_NAME}.cpp CONTENT "int main() { return 0; }\n")
  add_executable(link_${C_NAME} EXCLUDE_FROM_ALL ${CMAKE_CURRENT_BINARY_DIR}/link_${C_NAME}.cpp)
  target_link_libraries(link_${C_NAME} PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,${lib}>)
  add_dependencies(check_links link_${C_NAME})
endfunction()

function(atoll_test)
  cmake_parse_arguments(T "" "NAME;TIMEOUT" "SOURCES;DEPS;LABELS;ARGS" ${ARGN})
  if(NOT ATOLL_TESTS)
    return()
  endif()
  if(NOT T_LABELS)
    set(T_LABELS fast)
  endif()
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR}/tests/unit ${CMAKE_CURRENT_SOURCE_DIR})
  if(folder IN_LIST ATOLL_THREADED_FOLDERS AND NOT slow IN_LIST T_LABELS)
    list(APPEND T_LABELS tsan)
  endif()
  list(REMOVE_DUPLICATES T_LABELS)
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  add_executable(test_${T_NAME} ${T_SOURCES})
  target_link_libraries(test_${T_NAME} PRIVATE ${T_DEPS} GTest::gtest GTest::gtest_main)
  target_compile_definitions(test_${T_NAME} PRIVATE ATOLL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${T_NAME} COMMAND test_${T_NAME} ${T_ARGS})
  set_tests_properties(${T_NAME} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT})
  if(ATOLL_SANITIZE)
    # UCX hooks memory calls, also of threads that the thread sanitizer has already let go.
    set_tests_properties(${T_NAME} PROPERTIES ENVIRONMENT UCX_MEM_EVENTS=n)
  endif()
  foreach(label ${T_LABELS})
    if(NOT TARGET tests_${label})
      add_custom_target(tests_${label})
    endif()
    add_dependencies(tests_${label} test_${T_NAME})
  endforeach()
endfunction()

function(atoll_fuzz)
  cmake_parse_arguments(F "" "NAME" "SOURCES;DEPS" ${ARGN})
  if(NOT ATOLL_FUZZ)
    return()
  endif()
  add_executable(fuzz_${F_NAME} ${F_SOURCES})
  target_link_libraries(fuzz_${F_NAME} PRIVATE ${F_DEPS} atoll_options)
  target_link_options(fuzz_${F_NAME} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${F_NAME})
endfunction()
